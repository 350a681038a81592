//! The fault catalogue: every row is a sin of a sealed plugin, let loose on a real host.
//!
//! Beside the sinner runs a healthy twin that is called all the time; a row holds only if the twin's
//! calls are answered all along, the sinner was healthy before, and nothing is left afterwards.

mod death;
mod flood;
pub(crate) mod stage;
mod start;
mod tree;
mod wire;

use std::{
    collections::VecDeque,
    fmt::Write as _,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    pin::Pin,
    sync::Mutex,
};

use plugbay_tests::Setting;

use self::stage::{Plan, Stage};

/// Rows that run at once; a few wait for a timer of the host's, most for the processors.
const AT_ONCE: usize = 3;

/// What a row does, as a claim that panics when it does not hold; tells what was observed.
type Inject = for<'s> fn(&'s Stage) -> Pin<Box<dyn Future<Output = String> + 's>>;

/// One fault.
#[derive(Debug, Clone, Copy)]
struct Row {
    number: u32,
    fault: &'static str,
    required: &'static str,
    plan: Plan,
    inject: Inject,
}

fn rows() -> Vec<Row> {
    [death::rows(), start::rows(), wire::rows(), flood::rows(), tree::rows()].concat()
}

/// Runs rows, a few at once, and prints what came of them.
fn hold(setting: Setting, rows: Vec<Row>) {
    if !setting.is_possible() {
        println!("skipped ({}): the tests do not run as root", setting.name());
        return;
    }
    if !Stage::is_possible(setting) {
        println!("skipped ({}): no Python that its user can reach", setting.name());
        return;
    }
    let queue = Mutex::new(rows.into_iter().filter(|row| is_wanted(row.number)).collect());
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(row) = next(&queue) {
                    let outcome = run(setting, row);
                    done.lock().unwrap().push((row, outcome));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(row, _)| row.number);
    let table = table(setting, &done);
    println!("{table}");
    let to = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("faults-{}.txt", setting.keeper_name()));
    fs::write(to, &table).unwrap();
    let broken = done.iter().filter(|(_, outcome)| outcome.is_err()).count();
    assert_eq!(broken, 0, "faults that are not contained ({}):\n{table}", setting.name());
}

/// Whether `FAULTS=1,13` in the environment names this row, or nothing.
fn is_wanted(number: u32) -> bool {
    let wanted = std::env::var_os("FAULTS").unwrap_or_default();
    wanted.is_empty() || wanted.to_string_lossy().split(',').any(|one| one == number.to_string())
}

fn next(queue: &Mutex<VecDeque<Row>>) -> Option<Row> {
    queue.lock().unwrap().pop_front()
}

/// One row on a stage of its own; the error is why it does not hold.
fn run(setting: Setting, row: Row) -> Result<String, String> {
    catch_unwind(AssertUnwindSafe(|| Stage::play(setting, &row))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| panic.downcast_ref().copied()).unwrap_or("a panic").to_owned()
    })
}

fn table(setting: Setting, done: &[(Row, Result<String, String>)]) -> String {
    let mut table = format!("faults, keeper as {}:\n", setting.name());
    for (row, outcome) in done {
        let (mark, observed) = match outcome {
            Ok(observed) => ("   ", observed),
            Err(why) => ("NOT", why),
        };
        writeln!(
            table,
            "{mark} {:>2} {:<36} | {:<52} | {observed}",
            row.number, row.fault, row.required
        )
        .unwrap();
    }
    table
}

#[test]
fn every_fault_is_contained() {
    let setting = if plugbay_tests::is_root() { Setting::Root } else { Setting::User };
    hold(setting, rows());
}

#[test]
fn deaths_and_trees_are_handled_where_namespaces_are_refused() {
    hold(Setting::UserWithoutNamespaces, [death::rows(), tree::rows()].concat());
}
