//! One classic BPF instruction, and the few opcodes that filters here are made of.
//!
//! Only what the kernel's filter emulator understands is used, so that calls whose verdict does not
//! depend on arguments are answered from its bitmap, without running the program (Linux 5.11).

/// One instruction, in the layout of the kernel's `sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// The operation.
    pub code: u16,
    /// Instructions to skip when the comparison holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

impl Instruction {
    pub(super) const fn plain(code: u16, k: u32) -> Self {
        Self { code, jt: 0, jf: 0, k }
    }
}

/// Loads the 32-bit word at offset `k` of `seccomp_data`.
pub(super) const LOAD: u16 = 0x20;
/// Keeps the bits of `k`.
pub(super) const AND: u16 = 0x54;
/// Skips `k` instructions.
pub(super) const JUMP: u16 = 0x05;
/// Is the word `k`?
pub(super) const EQUAL: u16 = 0x15;
/// Is the word greater than `k`?
pub(super) const GREATER: u16 = 0x25;
/// Is the word `k` or greater?
pub(super) const AT_LEAST: u16 = 0x35;
/// Has the word any bit of `k`?
pub(super) const HAS_ANY: u16 = 0x45;
/// Ends with the verdict `k`.
pub(super) const RETURN: u16 = 0x06;

/// Where `seccomp_data` holds the call's number.
pub(super) const NUMBER: u32 = 0;
/// Where it holds the architecture.
pub(super) const ARCH: u32 = 4;
/// Its size.
pub(super) const DATA_SIZE: u32 = 64;

/// Where the low half of an argument is (every table here is of a little-endian machine).
///
/// The high half is never looked at: the kernel ignores it for the `int` and `unsigned` parameters
/// that are checked, so a filter that compares 64 bits can be walked around (CVE-2019-10063).
pub(super) fn argument(index: u8) -> u32 {
    16 + 8 * u32::from(index)
}
