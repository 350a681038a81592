//! libFuzzer's entrance to the codec. The body is shared with the stable property test `tests/codec.rs`;
//! nothing is asserted here that is not asserted there.

#![no_main]

#[path = "../../tests/fuzz/mod.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::door(data));
