//! Runs a filter in user space: for tests, and for reports that say what a filter would answer.

use super::{
    Instruction, Verdict,
    instruction::{AND, ARCH, AT_LEAST, EQUAL, GREATER, HAS_ANY, JUMP, LOAD, NUMBER, RETURN},
};

/// One system call, as a filter sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// The audit number of the architecture.
    pub arch: u32,
    /// The call's number.
    pub number: u32,
    /// The six arguments, whole registers.
    pub args: [u64; 6],
}

/// A program that went astray. [`super::verify`] rules all of these out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the filter went astray at instruction {at}")]
pub struct Astray {
    /// Position of the offending instruction.
    pub at: usize,
}

/// What the filter answers to a call.
///
/// # Errors
/// The program jumped out of itself, or holds what filters here never hold.
pub fn run(program: &[Instruction], call: &Call) -> Result<Verdict, Astray> {
    let mut word = 0_u32;
    let mut at = 0_usize;
    loop {
        let astray = Astray { at };
        let Instruction { code, jt, jf, k } = *program.get(at).ok_or(astray)?;
        let branch = |holds: bool| u32::from(if holds { jt } else { jf });
        let mut skip = 0;
        match code {
            LOAD => word = load(call, k).ok_or(astray)?,
            AND => word &= k,
            JUMP => skip = k,
            EQUAL => skip = branch(word == k),
            GREATER => skip = branch(word > k),
            AT_LEAST => skip = branch(word >= k),
            HAS_ANY => skip = branch(word & k != 0),
            RETURN => return Verdict::from_bits(k).ok_or(astray),
            _ => return Err(astray),
        }
        at += 1 + usize::try_from(skip).map_err(|_too_far| astray)?;
    }
}

/// The word at an offset of `seccomp_data`; the instruction pointer reads as zero.
fn load(call: &Call, offset: u32) -> Option<u32> {
    match offset {
        NUMBER => Some(call.number),
        ARCH => Some(call.arch),
        8 | 12 => Some(0),
        _ if !offset.is_multiple_of(4) => None,
        _ => {
            let word = usize::try_from(offset.checked_sub(16)? / 4).ok()?;
            let register = call.args.get(word / 2)?;
            let half = if word % 2 == 0 { *register } else { register >> 32 };
            u32::try_from(half & 0xffff_ffff).ok()
        }
    }
}
