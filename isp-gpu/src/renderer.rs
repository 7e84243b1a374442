//! The identity of a renderer, from its `GL_RENDERER` string.

/// The renderer's name without what is in brackets after it.
pub(crate) fn short_name(renderer: &str) -> &str {
    renderer.split(" (").next().unwrap_or(renderer).trim()
}

/// The short name of a renderer that is a program on the CPU; `None` for a GPU.
pub(crate) fn software_name(renderer: &str) -> Option<&str> {
    let name = renderer.split_ascii_whitespace().next()?;
    ["llvmpipe", "softpipe", "swrast", "SwiftShader"].contains(&name).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renderers_are_named_shortly() {
        for (renderer, short) in [
            ("llvmpipe (LLVM 15.0.6, 256 bits)", "llvmpipe"),
            ("softpipe", "softpipe"),
            ("Mesa Intel(R) UHD Graphics 620 (KBL GT2)", "Mesa Intel(R) UHD Graphics 620"),
            ("", ""),
        ] {
            assert_eq!(short_name(renderer), short);
        }
    }

    #[test]
    fn renderers_on_the_cpu_are_known_by_name() {
        assert_eq!(software_name("llvmpipe (LLVM 19.1.7, 256 bits)"), Some("llvmpipe"));
        assert_eq!(software_name("softpipe"), Some("softpipe"));
        assert_eq!(software_name("Mesa Intel(R) UHD Graphics 620 (KBL GT2)"), None);
        assert_eq!(software_name(""), None);
    }
}
