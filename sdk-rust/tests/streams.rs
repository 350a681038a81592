//! Results and parameters that come bit by bit.

#![expect(clippy::panic, reason = "a handler of a test is not `in tests` for clippy")]

use plugbay_sdk::{
    ByteStream, CallError, Code, Context, Error, Plugin, Result, Stream, testing::Host,
};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, mpsc};

#[derive(Debug, Serialize, Deserialize)]
struct Numbers {
    numbers: Stream<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Bytes {
    bytes: ByteStream,
}

#[derive(Debug, Serialize, Deserialize)]
struct Two {
    odd: Stream<u64>,
    rest: Vec<Stream<u64>>,
}

fn sum(numbers: Stream<u64>) -> Result<u64, CallError> {
    numbers.sum()
}

fn plugin() -> Plugin {
    Plugin::new("test", "1.0.0")
        .method("upto", |(most,): (u64,), _: &Context| -> Result<Stream<u64>> {
            Ok(Stream::of(1..=most))
        })
        .method("break", |(after,): (u64,), _: &Context| -> Result<Stream<u64>> {
            let failure = std::iter::once_with(|| Err(Error::new(17, "no more")));
            Ok(Stream::new((1..=after).map(Ok).chain(failure)))
        })
        .method("panic", |_: (), _: &Context| -> Result<Stream<u64>> {
            Ok(Stream::of((1..).map(|number| if number == 3 { panic!("three") } else { number })))
        })
        .method("total", |params: Numbers, _: &Context| -> Result<u64> { Ok(sum(params.numbers)?) })
        .method("first", |mut params: Numbers, _: &Context| -> Result<Option<u64>> {
            Ok(params.numbers.next().transpose()?)
        })
        .method("double", |params: Numbers, _: &Context| -> Result<Stream<u64>> {
            Ok(Stream::new(params.numbers.map(|number| Ok(2 * number?))))
        })
        .method("two", |(most,): (u64,), _: &Context| -> Result<Two> {
            let from = |first| Stream::of((first..=most).step_by(2));
            Ok(Two { odd: from(1), rest: vec![from(2)] })
        })
        .method("same", |params: Bytes, _: &Context| -> Result<ByteStream> { Ok(params.bytes) })
        .method_async("total_async", |mut params: Numbers, _: Context| async move {
            let mut total = 0;
            while let Some(number) = params.numbers.next_async().await {
                total += number?;
            }
            Ok(total)
        })
        .method_async("upto_async", |(most,): (u64,), _: Context| async move {
            Ok(Stream::of(1..=most))
        })
        .method("forward", |(most,): (u64,), ctx: &Context| -> Result<u64> {
            let numbers = Stream::of(1..=most);
            Ok(ctx.call_plugin("other", "total", &Numbers { numbers })?)
        })
}

fn all(stream: Stream<u64>) -> Vec<u64> {
    stream.map(Result::unwrap).collect()
}

#[test]
fn a_stream_is_what_its_iterator_gives() {
    let host = Host::new(plugin());
    for method in ["upto", "upto_async"] {
        for most in [0, 1, 64, 65, 1000] {
            let numbers = host.call::<Stream<u64>>(method, &(most,)).unwrap();
            assert_eq!(all(numbers), (1..=most).collect::<Vec<_>>());
        }
    }
}

#[test]
fn what_fails_comes_after_the_items_and_is_the_last() {
    let host = Host::new(plugin());
    let mut numbers = host.call::<Stream<u64>>("break", &(2,)).unwrap();
    assert_eq!((numbers.next().unwrap().unwrap(), numbers.next().unwrap().unwrap()), (1, 2));
    assert_eq!(numbers.next().unwrap().unwrap_err().code(), 17);
    assert!(numbers.next().is_none());
    let numbers = host.call::<Stream<u64>>("panic", &()).unwrap();
    let error = numbers.last().unwrap().unwrap_err();
    assert_eq!(error.known_code(), Some(Code::InternalError));
    assert!(error.message().contains("three"), "{error}");
}

#[test]
fn a_parameter_is_taken_as_it_comes() {
    let host = Host::new(plugin());
    for method in ["total", "total_async"] {
        for most in [0, 1, 1000_u64] {
            let params = Numbers { numbers: Stream::of(1..=most) };
            assert_eq!(host.call::<u64>(method, &params).unwrap(), most * (most + 1) / 2);
        }
    }
}

#[test]
fn what_is_not_taken_to_its_end_stops() {
    let host = Host::new(plugin());
    let (stopped, stops) = mpsc::channel::<()>();
    // The channel is closed when the iterator is dropped.
    let numbers = Stream::of((5..).inspect(move |_| drop(stopped.clone())));
    assert_eq!(host.call::<Option<u64>>("first", &Numbers { numbers }).unwrap(), Some(5));
    assert!(stops.recv().is_err(), "the iterator was dropped");
}

#[test]
fn a_dropped_result_stops_its_producer_and_lets_the_plugin_end() {
    let host = Host::new(plugin());
    let mut numbers = host.call::<Stream<u64>>("upto", &(u64::MAX,)).unwrap();
    assert_eq!(numbers.next().unwrap().unwrap(), 1);
    drop(numbers);
    host.shutdown().unwrap();
}

#[test]
fn a_result_may_be_made_from_a_parameter_as_it_comes() {
    let host = Host::new(plugin());
    let endless = Numbers { numbers: Stream::of(0..) };
    let doubled = host.call::<Stream<u64>>("double", &endless).unwrap();
    let some: Vec<u64> = doubled.take(200).map(Result::unwrap).collect();
    assert_eq!(some, (0..400).step_by(2).collect::<Vec<_>>());
}

#[test]
fn a_result_may_hold_several() {
    let host = Host::new(plugin());
    let Two { odd, mut rest } = host.call("two", &(300,)).unwrap();
    assert_eq!(all(rest.remove(0)), (2..=300).step_by(2).collect::<Vec<_>>());
    assert_eq!(all(odd), (1..=300).step_by(2).collect::<Vec<_>>());
}

#[test]
fn bytes_are_bytes() {
    let data: Arc<[u8]> = (0..=255).cycle().take(1_000_000).collect();
    let host = Host::new(plugin());
    let bytes = ByteStream::read(std::io::Cursor::new(Arc::clone(&data)));
    let same = host.call::<ByteStream>("same", &Bytes { bytes }).unwrap();
    let back: Vec<u8> = same.flat_map(Result::unwrap).collect();
    assert_eq!(*back, *data);
    assert!(host.call::<Stream<u64>>("same", &Bytes { bytes: ByteStream::new([]) }).is_err());
}

#[test]
fn a_stream_to_another_plugin_ends_with_its_call() {
    let host = Host::new(plugin()).stub_plugin("other", "total", |_| Ok(7.into())).stub_plugin(
        "other",
        "double",
        |_| Ok(7.into()),
    );
    // Its answer ends the stream that it did not read.
    assert_eq!(host.call::<u64>("forward", &(u64::MAX,)).unwrap(), 7);
    host.shutdown().unwrap();
}

#[test]
fn a_stream_outside_of_a_message_cannot_be_written() {
    assert!(serde_json::to_string(&Stream::of([1])).is_err());
    let reference = r#"{"$stream":"x","kind":"json"}"#;
    assert!(serde_json::from_str::<Stream<u64>>(reference).is_err());
}

#[test]
fn one_that_was_made_here_can_be_read_here() {
    assert_eq!(all(Stream::of([1, 2])), [1, 2]);
    let pieces = ByteStream::new([Ok(vec![]), Ok(vec![1]), Err(Error::new(3, "torn"))]);
    let read: Vec<_> = pieces.map(|piece| piece.map_err(|error| error.code())).collect();
    assert_eq!(read, [Ok(vec![1]), Err(3)]);
}
