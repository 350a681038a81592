//! Whether a program is one that the kernel takes and that always ends in a verdict.
//!
//! Jumps only go forward by construction of BPF, so a program within these rules cannot loop.

use super::{
    Verdict,
    instruction::{
        AND, AT_LEAST, DATA_SIZE, EQUAL, GREATER, HAS_ANY, Instruction, JUMP, LOAD, RETURN,
    },
};

/// The most instructions that the kernel takes (`BPF_MAXINSNS`).
pub const MOST_INSTRUCTIONS: usize = 4096;

/// What is wrong with a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// No instruction at all.
    #[error("the program is empty")]
    Empty,
    /// More than [`MOST_INSTRUCTIONS`].
    #[error("{0} instructions are more than the kernel takes")]
    TooLong(usize),
    /// An opcode that filters here never use.
    #[error("instruction {at} has the unknown opcode {code:#x}")]
    Opcode {
        /// Position of the instruction.
        at: usize,
        /// Its opcode.
        code: u16,
    },
    /// A load from outside of `seccomp_data`, or not aligned.
    #[error("instruction {at} loads from offset {offset}")]
    Load {
        /// Position of the instruction.
        at: usize,
        /// Where it loads from.
        offset: u32,
    },
    /// A jump behind the end, or an end that is not a verdict.
    #[error("instruction {at} leads out of the program")]
    RunsOut {
        /// Position of the instruction.
        at: usize,
    },
    /// A verdict that filters here never give.
    #[error("instruction {at} returns the unknown value {value:#x}")]
    Return {
        /// Position of the instruction.
        at: usize,
        /// What it returns.
        value: u32,
    },
}

/// Checks a whole program.
///
/// # Errors
/// The first instruction that breaks a rule.
pub fn verify(program: &[Instruction]) -> Result<(), Invalid> {
    if program.is_empty() {
        return Err(Invalid::Empty);
    }
    if program.len() > MOST_INSTRUCTIONS {
        return Err(Invalid::TooLong(program.len()));
    }
    for (at, instruction) in program.iter().enumerate() {
        let furthest = furthest_successor(at, *instruction)?;
        let in_range = furthest
            .is_none_or(|skip| usize::try_from(skip).is_ok_and(|s| s < program.len() - at - 1));
        if !in_range {
            return Err(Invalid::RunsOut { at });
        }
    }
    Ok(())
}

/// How many instructions may at most be skipped after this one; `None` when it ends the program.
fn furthest_successor(at: usize, instruction: Instruction) -> Result<Option<u32>, Invalid> {
    let Instruction { code, jt, jf, k } = instruction;
    match code {
        LOAD if !k.is_multiple_of(4) || k >= DATA_SIZE => Err(Invalid::Load { at, offset: k }),
        LOAD | AND => Ok(Some(0)),
        JUMP => Ok(Some(k)),
        EQUAL | GREATER | AT_LEAST | HAS_ANY => Ok(Some(u32::from(jt.max(jf)))),
        RETURN if Verdict::from_bits(k).is_none() => Err(Invalid::Return { at, value: k }),
        RETURN => Ok(None),
        _ => Err(Invalid::Opcode { at, code }),
    }
}
