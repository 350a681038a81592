//! The compiler: decisions in, BPF out. Pure, and knows nothing of profiles.
//!
//! ```text
//! load arch ─ ours? ── no ─► KILL
//!               │
//! load number ─ > newest? ── yes ─► ENOSYS      (also every x32 number, and -1)
//!               │
//! range search tree ─► verdict
//!                  └─► tests of arguments ─► verdict
//! ```
//!
//! Calls with equal decisions and adjacent numbers are one range; the tree halves the ranges, so a
//! call costs about eight comparisons instead of the hundreds of a list.
//!
//! The program is written from its end to its start. So every target of a jump already stands when
//! the jump is written, its distance is known, and equal ends are written once. Distances that do
//! not fit into the eight bits of a conditional jump go over a 32-bit `JUMP` set in between.

use std::collections::BTreeMap;

use super::{
    Arch, Instruction, Verdict,
    instruction::{
        AND, ARCH, AT_LEAST, EQUAL, GREATER, HAS_ANY, JUMP, LOAD, NUMBER, RETURN, argument,
    },
    policy::{Asked, Condition, Decision, Question},
};

/// Compiles the decisions on every call; `decisions` is in the order of the numbers.
pub(super) fn assemble(arch: Arch, decisions: &[(u32, Decision<'_>)]) -> Vec<Instruction> {
    let newest = decisions.last().map_or(0, |(number, _)| *number);
    let mut writer = Writer::default();
    let tree = writer.tree(&ranges(decisions));
    let unknown = writer.verdict(Verdict::UNKNOWN_CALL);
    let ceiling = writer.branch(GREATER, newest, unknown, tree);
    let number = writer.then(Instruction::plain(LOAD, NUMBER), ceiling);
    let foreign = writer.verdict(Verdict::KillProcess);
    let ours = writer.branch(EQUAL, arch.audit(), number, foreign);
    writer.then(Instruction::plain(LOAD, ARCH), ours);
    writer.finish()
}

/// What becomes of numbers that no table has.
static UNKNOWN_CALL: Decision<'static> =
    Decision { tests: Vec::new(), otherwise: Verdict::UNKNOWN_CALL, asked: Asked::Never };

/// The decisions as ranges without holes: each begins at its number and ends where the next begins.
fn ranges<'d, 'p>(decisions: &'d [(u32, Decision<'p>)]) -> Vec<(u32, &'d Decision<'p>)> {
    let mut ranges: Vec<(u32, &Decision<'p>)> = Vec::new();
    let mut add = |start, decision| {
        if ranges.last().is_none_or(|(_, last)| *last != decision) {
            ranges.push((start, decision));
        }
    };
    let mut next = 0;
    for (number, decision) in decisions {
        if *number > next {
            add(next, &UNKNOWN_CALL);
        }
        add(*number, decision);
        next = number.saturating_add(1);
    }
    if ranges.is_empty() {
        ranges.push((0, &UNKNOWN_CALL));
    }
    ranges
}

/// A place in the program, counted from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Label(usize);

/// The program as far as it is written, last instruction first.
#[derive(Debug, Default)]
struct Writer<'d> {
    reversed: Vec<Instruction>,
    verdicts: BTreeMap<Verdict, Label>,
    tested: BTreeMap<&'d Decision<'d>, Label>,
}

impl<'d> Writer<'d> {
    fn finish(mut self) -> Vec<Instruction> {
        self.reversed.reverse();
        self.reversed
    }

    fn write(&mut self, instruction: Instruction) -> Label {
        self.reversed.push(instruction);
        Label(self.reversed.len() - 1)
    }

    /// Instructions between the next one to be written and `target`.
    fn distance(&self, target: Label) -> usize {
        self.reversed.len() - target.0 - 1
    }

    fn verdict(&mut self, verdict: Verdict) -> Label {
        match self.verdicts.get(&verdict) {
            Some(label) => *label,
            None => self.write_verdict(verdict),
        }
    }

    fn write_verdict(&mut self, verdict: Verdict) -> Label {
        let label = self.write(Instruction::plain(RETURN, verdict.to_bits()));
        self.verdicts.insert(verdict, label);
        label
    }

    /// One instruction that goes on at `next` without choice.
    fn then(&mut self, instruction: Instruction, next: Label) -> Label {
        if self.distance(next) > 0 {
            self.jump(next);
        }
        self.write(instruction)
    }

    /// A stand-in for a far target: a copy of it if it is a verdict, else a jump to it.
    fn jump(&mut self, target: Label) -> Label {
        let end = self.reversed.get(target.0).filter(|instruction| instruction.code == RETURN);
        if let Some(verdict) = end.and_then(|end| Verdict::from_bits(end.k)) {
            return self.write_verdict(verdict);
        }
        let skip = u32::try_from(self.distance(target)).unwrap_or(u32::MAX);
        self.write(Instruction::plain(JUMP, skip))
    }

    fn branch(&mut self, code: u16, k: u32, hit: Label, miss: Label) -> Label {
        if hit == miss {
            return hit;
        }
        // A stand-in for `miss` would move the branch one further from `hit`.
        let hit = if self.distance(hit) < usize::from(u8::MAX) { hit } else { self.jump(hit) };
        let miss = if self.distance(miss) <= usize::from(u8::MAX) { miss } else { self.jump(miss) };
        let skip = |target| u8::try_from(self.distance(target)).unwrap_or(u8::MAX);
        let (jt, jf) = (skip(hit), skip(miss));
        self.write(Instruction { code, jt, jf, k })
    }

    /// The search tree over some ranges; the number is loaded already.
    fn tree(&mut self, ranges: &[(u32, &'d Decision<'d>)]) -> Label {
        let (lower, upper) = ranges.split_at(ranges.len() / 2);
        match (lower, upper) {
            ([], [(_, decision), ..]) => self.decision(decision),
            (_, [(start, _), ..]) => {
                let hit = self.tree(upper);
                let miss = self.tree(lower);
                self.branch(AT_LEAST, *start, hit, miss)
            }
            (_, []) => self.verdict(Verdict::UNKNOWN_CALL),
        }
    }

    /// The tests of one call, each falling through to the next; equal lists are written once.
    fn decision(&mut self, decision: &'d Decision<'d>) -> Label {
        if let Some(label) = self.tested.get(decision) {
            return *label;
        }
        let mut next = self.verdict(decision.asked.instead_of(decision.otherwise));
        for test in decision.tests.iter().rev() {
            let mut hit = self.verdict(decision.asked.instead_of(test.verdict));
            for condition in test.conditions.iter().rev() {
                hit = self.condition(condition, hit, next);
            }
            next = hit;
        }
        if !decision.tests.is_empty() {
            self.tested.insert(decision, next);
        }
        next
    }

    fn condition(&mut self, condition: &Condition, hit: Label, miss: Label) -> Label {
        let (mask, asked) = match &condition.question {
            Question::Is { mask, values } => (*mask, self.one_of(values, hit, miss)),
            Question::IsNot { mask, values } => (*mask, self.one_of(values, miss, hit)),
            Question::HasAny(bits) => (u32::MAX, self.branch(HAS_ANY, *bits, hit, miss)),
        };
        let kept = match mask {
            u32::MAX => asked,
            _ => self.then(Instruction::plain(AND, mask), asked),
        };
        self.then(Instruction::plain(LOAD, argument(condition.argument)), kept)
    }

    fn one_of(&mut self, values: &[u32], hit: Label, miss: Label) -> Label {
        values.iter().rev().fold(miss, |miss, value| self.branch(EQUAL, *value, hit, miss))
    }
}
