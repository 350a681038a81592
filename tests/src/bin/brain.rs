//! A host that can be killed: `brain KEEPER PROBER TOKEN COUNT` seals programs that leave daemons,
//! says `ready KEEPER-PID` when all are there, and lives until its input is closed.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a fixture: a panic is a failure of the test"
)]

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _},
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use plugbay_keeper::{Client, Event, Request, locate};
use plugbay_sandbox::{Access, FileGrant, Spec};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [keeper, prober, token, count] = args.as_slice() else { panic!("four arguments") };
    let client = Client::start(&locate(Some(Path::new(keeper))).unwrap()).unwrap();
    let mut held: Vec<(OwnedFd, OwnedFd)> = Vec::new();
    for number in 0..count.parse().unwrap() {
        let mut spec = Spec::new(prober);
        spec.files.push(FileGrant::requested(prober, Access::Exec));
        let words = ["prober", plugbay_tests::PROBE, "daemons", "count=3", "then=wait", token];
        spec.args = words.iter().map(Into::into).collect();
        client.send(&Request::Spawn { token: number, spec: Box::new(spec) }).unwrap();
        let (input, output) = started(&client);
        let mut line = String::new();
        BufReader::new(File::from(output.try_clone().unwrap())).read_line(&mut line).unwrap();
        assert_eq!(line, "ready 6\n");
        held.push((input, output));
    }
    println!("ready {}", client.pid());
    drop(std::io::stdin().read(&mut [0]));
}

fn started(client: &Client) -> (OwnedFd, OwnedFd) {
    loop {
        if let Some((event, fds)) = client.receive().unwrap() {
            let Event::Started { .. } = event else { panic!("{event:?}") };
            let [input, output, _error, _process] = <[OwnedFd; 4]>::try_from(fds).unwrap();
            return (input, output);
        }
        let mut polled = [PollFd::new(client.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::NONE).unwrap();
    }
}
