//! The races of `lab_uml_prime` once more, in a machine with two processors:
//! `cargo xtask test --only qemu`.

#[path = "lab_uml_prime.rs"]
mod prime;
