//! The sins that take one process.

use std::{
    fs::File,
    hint,
    io::{self, Write},
    net::UdpSocket,
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{SigSet, Signal, raise},
    unistd::pause,
};
use serde_json::{Value, json};

use super::{super::clock::Within, answer, complain, write};

/// Stays, deaf to polite signals, whatever happens.
pub(super) fn stay() -> ! {
    let polite: SigSet = [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT].into_iter().collect();
    // What cannot be blocked ends it, which the row will notice.
    polite.thread_block().ok();
    loop {
        pause();
    }
}

/// Takes long for the start, and sets what ends it later; both in milliseconds.
pub(super) fn begin(slow: Option<u64>, silent: bool, crash: Option<u64>) -> io::Result<()> {
    for _ in 0..slow.unwrap_or(0) / 100 {
        thread::sleep(Duration::from_millis(100));
        if !silent {
            let progress = json!({"token": "initialize", "message": "still at it"});
            let notice = json!({"jsonrpc": "2.0", "method": "$/progress", "params": progress});
            write(&format!("{notice}\n"))?;
        }
    }
    if let Some(crash) = crash {
        let crash = move || {
            thread::sleep(Duration::from_millis(crash));
            end(None)
        };
        thread::Builder::new().spawn(crash).map(drop)?;
    }
    Ok(())
}

/// Ends with a status.
pub(super) fn end(code: Option<&Value>) -> ! {
    let code = code.and_then(Value::as_i64).and_then(|code| i32::try_from(code).ok());
    #[expect(clippy::exit, reason = "to end at once is what is asked for")]
    std::process::exit(code.unwrap_or(1))
}

/// Writes something that is no answer, or not quite; then perhaps answers.
pub(super) fn say(call: &Value, params: &Value) -> io::Result<()> {
    let text = params.get("text").and_then(Value::as_str).unwrap_or_default();
    let data = match params.get("hex").and_then(Value::as_str) {
        Some(hex) => bytes(hex),
        None => text.as_bytes().to_vec(),
    };
    let data = replaced(&data, b"$ID", call.to_string().as_bytes());
    let times = params.get("times").and_then(Value::as_u64).unwrap_or(1);
    let mut out = io::stdout().lock();
    for _ in 0..times {
        out.write_all(&data)?;
    }
    out.flush()?;
    drop(out);
    if params.get("answer") == Some(&json!(false)) {
        return Ok(());
    }
    answer(call, &json!("said"))
}

fn bytes(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks_exact(2);
    let digits = pairs.filter_map(|pair| std::str::from_utf8(pair).ok());
    digits.filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect()
}

fn replaced(data: &[u8], what: &[u8], by: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len());
    let mut rest = data;
    while let Some((first, tail)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(what) {
            out.extend_from_slice(by);
            rest = after;
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    out
}

/// Dies half-way through an answer.
pub(super) fn partial(call: &Value) -> io::Result<()> {
    write(&format!("{{\"jsonrpc\":\"2.0\",\"id\":{call},\"result\":\"never fin"))?;
    Ok(raise(Signal::SIGKILL)?)
}

/// Dies of a signal, with last words.
pub(super) fn die(params: &Value) -> io::Result<()> {
    let name = params.get("signal").and_then(Value::as_str).unwrap_or_default();
    complain(&format!("last words: {name}"))?;
    loop {
        // The runtime's own handler lets the first SIGSEGV and SIGBUS pass.
        raise(name.parse().unwrap_or(Signal::SIGKILL))?;
    }
}

/// Has a thread do the work, which falls over, so that nobody ever answers.
pub(super) fn delegate() -> io::Result<()> {
    #[expect(clippy::panic, reason = "the panic of a worker thread is the sin")]
    let helper = || panic!("the helper fell over");
    thread::Builder::new().spawn(helper).map(drop)
}

/// Closes one of the three pipes, and lives.
pub(super) fn close(call: &Value, params: &Value) -> io::Result<()> {
    answer(call, &json!("closed"))?;
    let fd = params.get("fd").and_then(Value::as_i64).and_then(|fd| i32::try_from(fd).ok());
    nix::unistd::close(fd.unwrap_or(1))?;
    if fd == Some(2) { Ok(()) } else { stay() }
}

/// A line without an end, as an answer or as nothing that anybody knows.
pub(super) fn endless(call: &Value, params: &Value) -> io::Result<()> {
    let form = params.get("as").and_then(Value::as_str).unwrap_or_default();
    let start = match form {
        "answer" => format!("{{\"jsonrpc\":\"2.0\",\"id\":{call},\"result\":\""),
        _ => String::new(),
    };
    write(&start)?;
    pour(&mut io::stdout(), if form == "brackets" { b"[" } else { b"x" }, params)?;
    if form == "answer" { write("\"}\n") } else { Ok(()) }
}

/// Valid notifications that nobody wants.
pub(super) fn chatter(call: &Value, params: &Value) -> io::Result<()> {
    let notice: &[u8] = b"{\"jsonrpc\":\"2.0\",\"method\":\"app/chatter\",\"params\":{\"n\":1}}\n";
    pour(&mut io::stdout(), notice, params)?;
    answer(call, &Value::Null)
}

/// Much on stderr, as lines or not.
pub(super) fn mutter(call: &Value, params: &Value) -> io::Result<()> {
    let lines = params.get("lines") == Some(&json!(true));
    pour(&mut io::stderr(), if lines { b"so it goes\n" } else { b"and " }, params)?;
    answer(call, &Value::Null)
}

/// Writes so many mebibytes of one pattern.
fn pour(to: &mut impl Write, pattern: &[u8], params: &Value) -> io::Result<()> {
    let block = pattern.repeat((1 << 20) / pattern.len());
    for _ in 0..params.get("mib").and_then(Value::as_u64).unwrap_or(0) {
        to.write_all(&block)?;
    }
    to.flush()
}

/// Takes memory and uses it, until there is no more to be had.
pub(super) fn swallow() -> io::Result<()> {
    complain("swallowing")?;
    let mut kept: Vec<Vec<u8>> = Vec::new();
    loop {
        kept.push(vec![1; 1 << 20]);
        hint::black_box(&kept);
    }
}

/// Opens files until it is refused; answers how many there were.
pub(super) fn files(call: &Value) -> io::Result<()> {
    let mut open = Vec::new();
    while open.len() < 100_000 {
        match File::open("/dev/null") {
            Ok(file) => open.push(file),
            Err(_) => break,
        }
    }
    answer(call, &json!(open.len()))
}

/// Uses a processor and never comes back.
pub(super) fn spin() -> io::Result<()> {
    complain("spinning")?;
    loop {
        hint::spin_loop();
    }
}

/// Does nothing any more, and hears nothing.
pub(super) fn freeze() -> io::Result<()> {
    complain("frozen")?;
    loop {
        pause();
    }
}

/// Is busy for so many milliseconds, then answers.
pub(super) fn work(call: &Value, params: &Value) -> io::Result<()> {
    complain("working")?;
    let millis = params.get("ms").and_then(Value::as_u64).unwrap_or(0);
    let until = Within::of(Duration::from_millis(millis));
    while !until.left().is_zero() {
        hint::spin_loop();
    }
    answer(call, &json!("done"))
}

/// Opens a file, wherever that leads.
pub(super) fn touch(call: &Value, params: &Value) -> io::Result<()> {
    let path = params.get("path").and_then(Value::as_str).unwrap_or_default();
    answer(call, &json!(File::open(path).is_ok()))
}

/// Makes a call that the filter refuses, so many times; answers how many were.
pub(super) fn refused(call: &Value, params: &Value) -> io::Result<()> {
    let wanted = params.get("count").and_then(Value::as_u64).unwrap_or(0);
    let refused = (0..wanted).filter(|_| UdpSocket::bind(("127.0.0.1", 0)).is_err()).count();
    answer(call, &json!(refused))
}
