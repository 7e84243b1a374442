//! The races of `tests/uml/allocator/prime.rs` once more, in a machine with two processors.
//!
//! `cargo xtask test --only qemu allocator_prime`

#[path = "../../uml/allocator/prime.rs"]
mod prime;
