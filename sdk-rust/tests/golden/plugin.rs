//! The golden plugin, as `protocol/golden/README.md` describes it.

use plugbay_sdk::{ByteStream, Context, Error, Plugin, Result, Stream, Value};
use serde::Deserialize;
use serde_json::Number;

#[derive(Deserialize)]
struct Add {
    a: Number,
    b: Number,
}

#[derive(Deserialize)]
struct Ask {
    method: String,
    #[serde(default)]
    params: Value,
}

#[derive(Deserialize)]
struct Fail {
    message: String,
}

#[derive(Deserialize)]
struct Slow {
    steps: u64,
}

#[derive(Deserialize)]
struct Range {
    count: u64,
    #[serde(default)]
    fail: Option<String>,
}

#[derive(Deserialize)]
struct Total {
    numbers: Stream<i64>,
}

#[derive(Deserialize)]
struct Upper {
    bytes: ByteStream,
}

/// Two integers give an exact integer.
fn add(Add { a, b }: Add) -> Result<Number> {
    let exact = a.as_i64().zip(b.as_i64()).and_then(|(a, b)| a.checked_add(b));
    let rounded = || Number::from_f64(a.as_f64()? + b.as_f64()?);
    exact
        .map(Number::from)
        .or_else(rounded)
        .ok_or_else(|| Error::invalid_params("the sum is too large"))
}

pub(crate) fn golden() -> Plugin {
    Plugin::new("golden", "1.0.0")
        .method("add", |params: Add, _: &Context| add(params))
        .method("ask", |Ask { method, params }: Ask, ctx: &Context| -> Result<Value> {
            ctx.call(&method, &params).map_err(|failed| {
                if ctx.is_cancelled() {
                    return failed.into();
                }
                Error::new(failed.code(), failed.message())
            })
        })
        .method("config", |_: (), ctx: &Context| -> Result<Value> {
            Ok(ctx.config::<Value>()?.as_ref().clone())
        })
        .method("echo", |params: Value, _: &Context| -> Result<Value> { Ok(params) })
        .method("fail", |Fail { message }: Fail, _: &Context| -> Result<()> {
            Err(Error::new(-32000, message))
        })
        .method("range", |Range { count, fail }: Range, _: &Context| -> Result<Stream<u64>> {
            let failure = fail.map(|message| Err(Error::new(-32000, message)));
            Ok(Stream::new((0..count).map(Ok).chain(failure)))
        })
        .method("slow", |Slow { steps }: Slow, ctx: &Context| -> Result<&str> {
            for step in 1..=steps {
                ctx.progress((step, steps));
            }
            Ok("done")
        })
        .method("total", |Total { mut numbers }: Total, _: &Context| -> Result<i64> {
            Ok(numbers.try_fold(0, |sum, number| number.map(|number| sum + number))?)
        })
        .method("upper", |Upper { bytes }: Upper, _: &Context| -> Result<ByteStream> {
            Ok(ByteStream::new(bytes.map(|piece| Ok(piece?.to_ascii_uppercase()))))
        })
        .method("wait", |_: (), ctx: &Context| -> Result<()> {
            while !ctx.wait_cancelled(None) {}
            Ok(ctx.check()?)
        })
}
