//! The numbers both sides agree not to exceed, each with its reason. Not policy: what happens to a
//! plugin that does exceed them is the engine's business.

use std::time::Duration;

/// Largest frame a reader accepts by default, in bytes, terminator and header not counted. Large
/// enough for any document a person edits; small enough that 64 plugins at their cap fit in memory.
pub const MAX_FRAME: usize = 8 << 20;

/// Largest value [`MAX_FRAME`] may be configured to. Beyond it bytes belong in a file or a stream; a
/// `Content-Length` above it is taken for a lie, not for a long frame.
pub const MAX_FRAME_CEILING: usize = 64 << 20;

/// Most brackets a frame may have open at once, the envelope's own included. It is the depth at
/// which `serde_json` stops, so a payload that passed here can always be parsed further in.
pub const MAX_DEPTH: usize = 128;

/// What a decoder asks of one read at most. With [`MAX_FRAME`] it bounds a decoder's memory.
pub const READ_CHUNK: usize = 64 << 10;

/// Largest header block in front of a `Content-Length` frame, in bytes. Real ones are under 100.
pub const HEADER_BLOCK: usize = 4 << 10;

/// How long a frame may stay half received before its sender is taken for broken.
pub const PARTIAL_FRAME_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest line of a plugin's stderr kept whole; the rest of a longer one is cut.
pub const STDERR_LINE: usize = 16 << 10;

/// How long a cancelled call may take to answer before the host answers its caller itself.
pub const CANCEL_GRACE: Duration = Duration::from_secs(2);

/// How long a plugin has, from its start, to answer `initialize`.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Requests one side may have unanswered on the other before it is refused with `Overloaded`.
pub const MAX_INFLIGHT: u32 = 64;

/// Items by which a stream's sender may be ahead of its receiver before it must wait.
pub const STREAM_WINDOW_ITEMS: u32 = 64;

/// Bytes by which a stream's sender may be ahead of its receiver before it must wait.
pub const STREAM_WINDOW_BYTES: u32 = 1 << 20;

/// Most items in one frame of a stream: with the window, what a receiver may have to keep.
pub const STREAM_FRAME_ITEMS: u32 = 64;

/// Most streams that one message may refer to.
pub const STREAMS_PER_MESSAGE: usize = 16;

/// Longest method name, in bytes. Longer ones are refused by the manifest, not by the parser.
pub const METHOD_NAME: usize = 128;
