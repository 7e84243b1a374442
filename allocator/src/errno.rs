//! The kernel's error numbers, with their names and texts.

use std::io;

/// Declares a constant for each number, and [`name`] for the way back.
macro_rules! errnos {
    ($($name:ident)*) => {
        $(pub(crate) const $name: i32 = linux_raw_sys::errno::$name as i32;)*

        /// The name of an error number of this architecture, if it has one.
        pub(crate) fn name(number: i32) -> Option<&'static str> {
            match number {
                $($name => Some(stringify!($name)),)*
                _ => None,
            }
        }
    };
}

// All of `asm-generic/errno-base.h` and `asm-generic/errno.h`, but for second names:
// EWOULDBLOCK is EAGAIN, and EDEADLOCK is EDEADLK on most architectures.
errnos! {
    EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT
    ENOTBLK EBUSY EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG
    ENOSPC ESPIPE EROFS EMLINK EPIPE EDOM ERANGE
    EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP ENOMSG EIDRM ECHRNG EL2NSYNC EL3HLT EL3RST
    ELNRNG EUNATCH ENOCSI EL2HLT EBADE EBADR EXFULL ENOANO EBADRQC EBADSLT EBFONT ENOSTR ENODATA
    ETIME ENOSR ENONET ENOPKG EREMOTE ENOLINK EADV ESRMNT ECOMM EPROTO EMULTIHOP EDOTDOT EBADMSG
    EOVERFLOW ENOTUNIQ EBADFD EREMCHG ELIBACC ELIBBAD ELIBSCN ELIBMAX ELIBEXEC EILSEQ ERESTART
    ESTRPIPE EUSERS ENOTSOCK EDESTADDRREQ EMSGSIZE EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT
    ESOCKTNOSUPPORT EOPNOTSUPP EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL ENETDOWN
    ENETUNREACH ENETRESET ECONNABORTED ECONNRESET ENOBUFS EISCONN ENOTCONN ESHUTDOWN ETOOMANYREFS
    ETIMEDOUT ECONNREFUSED EHOSTDOWN EHOSTUNREACH EALREADY EINPROGRESS ESTALE EUCLEAN ENOTNAM
    ENAVAIL EISNAM EREMOTEIO EDQUOT ENOMEDIUM EMEDIUMTYPE ECANCELED ENOKEY EKEYEXPIRED EKEYREVOKED
    EKEYREJECTED EOWNERDEAD ENOTRECOVERABLE ERFKILL EHWPOISON
}

/// The name of an error number, such as `ENODEV`; `errno` and the number where it has none.
pub fn errno_name(number: i32) -> String {
    name(number).map_or_else(|| format!("errno {number}"), str::to_owned)
}

/// What the C library says about an error number, such as `No such device`.
pub(crate) fn text(number: i32) -> String {
    let mut text = io::Error::from_raw_os_error(number).to_string();
    // The standard library adds the number, which stands beside the text already, as a name.
    if let Some(end) = text.rfind(" (os error ") {
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_c_library_knows_the_same_numbers() {
        for number in 1..4096 {
            let unknown = text(number).starts_with("Unknown error");
            assert_eq!(name(number).is_none(), unknown, "{number}: {}", text(number));
        }
    }

    #[test]
    fn names_and_texts_belong_together() {
        for (number, named, said) in [
            (EPERM, "EPERM", "Operation not permitted"),
            (ENODEV, "ENODEV", "No such device"),
            (EINVAL, "EINVAL", "Invalid argument"),
            (EOPNOTSUPP, "EOPNOTSUPP", "Operation not supported"),
            (EHWPOISON, "EHWPOISON", "Memory page has hardware error"),
        ] {
            assert_eq!((&*errno_name(number), &*text(number)), (named, said));
        }
    }

    #[test]
    fn a_number_without_a_name_stands_for_itself() {
        // Of the kernel alone: ENOTSUPP, which some drivers let through.
        assert_eq!(errno_name(524), "errno 524");
        assert_eq!(errno_name(-1), "errno -1");
        assert_eq!(errno_name(0), "errno 0");
    }
}
