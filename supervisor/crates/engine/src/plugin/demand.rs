//! What host and manifest demand of the sandbox, put together. Pure.
//!
//! Both are asked: what either requires is required. A manifest excuses only what it has asked for
//! itself, since a hostile one would excuse everything.

use plugbay_manifest::sandbox::{self, Sandbox};
use plugbay_sandbox::{Demand, Demands, Level, Protection};

/// Level and demands of one process. What the host says of a protection counts; the manifest adds what
/// it requires, and what it can do without where the host does not care.
pub(crate) fn joined(host: (Level, &Demands), manifest: &Sandbox) -> (Level, Demands) {
    let (level, mut demands) = (host.0, host.1.clone());
    for (name, demand) in &manifest.protections {
        let Ok(protection) = name.parse::<Protection>() else { continue };
        match demand {
            sandbox::Demand::Require => {
                demands.insert(protection, Demand::Require);
            }
            sandbox::Demand::Prefer | sandbox::Demand::Off if level != Level::Strict => {
                // The host's own level `standard` asks for these.
                if !STANDARD.contains(&protection) {
                    demands.entry(protection).or_insert(Demand::Prefer);
                }
            }
            sandbox::Demand::Prefer | sandbox::Demand::Off => {}
        }
    }
    let level = match manifest.level {
        Some(sandbox::Level::Strict) => Level::Strict,
        Some(sandbox::Level::Standard) if level == Level::None => Level::Standard,
        Some(sandbox::Level::Standard | sandbox::Level::None) | None => level,
    };
    (level, demands)
}

/// What a host at level `standard` requires, and a manifest cannot excuse.
const STANDARD: [Protection; 5] = [
    Protection::FilesRead,
    Protection::FilesWrite,
    Protection::Network,
    Protection::SystemCalls,
    Protection::Privileges,
];

#[cfg(test)]
mod tests {
    use plugbay_sandbox::Limit;

    use super::*;

    fn asks(level: Option<sandbox::Level>, demands: &[(&'static str, sandbox::Demand)]) -> Sandbox {
        let mut sandbox = Sandbox::default();
        sandbox.level = level;
        sandbox.protections = demands.iter().copied().collect();
        sandbox
    }

    const MEMORY: Protection = Protection::Limit(Limit::Memory);

    #[test]
    fn the_names_of_the_manifest_are_those_of_the_sandbox() {
        assert_eq!(Protection::ALL.map(Protection::name), sandbox::PROTECTIONS);
        let switchable = Protection::ALL.into_iter().filter(|it| it.can_be_off());
        let switchable: Vec<&str> = switchable.map(Protection::name).collect();
        assert_eq!(switchable, sandbox::SWITCHABLE);
    }

    #[test]
    fn a_manifest_raises_the_level_and_cannot_lower_it() {
        let level = |host, asked| joined((host, &Demands::new()), &asks(asked, &[])).0;
        assert_eq!(level(Level::Standard, Some(sandbox::Level::Strict)), Level::Strict);
        assert_eq!(level(Level::Standard, Some(sandbox::Level::None)), Level::Standard);
        assert_eq!(level(Level::Strict, Some(sandbox::Level::Standard)), Level::Strict);
        assert_eq!(level(Level::None, Some(sandbox::Level::Standard)), Level::Standard);
        assert_eq!(level(Level::None, Some(sandbox::Level::None)), Level::None);
        assert_eq!(level(Level::None, None), Level::None);
    }

    #[test]
    fn what_either_requires_is_required() {
        let require = asks(None, &[("limits.memory", sandbox::Demand::Require)]);
        for host in [Demands::new(), Demands::from([(MEMORY, Demand::Off)])] {
            let (_, demands) = joined((Level::Standard, &host), &require);
            assert_eq!(demands.get(&MEMORY), Some(&Demand::Require));
        }
        let host = Demands::from([(MEMORY, Demand::Require)]);
        for demand in sandbox::Demand::ALL {
            let asked = asks(None, &[("limits.memory", demand)]);
            assert_eq!(joined((Level::Standard, &host), &asked).1, host);
        }
    }

    #[test]
    fn a_manifest_excuses_what_its_own_level_asks_and_nothing_that_the_hosts_does() {
        let asked = asks(
            Some(sandbox::Level::Strict),
            &[
                ("limits.memory", sandbox::Demand::Prefer),
                ("files.read", sandbox::Demand::Prefer),
                ("system-calls", sandbox::Demand::Off),
            ],
        );
        let demands = |host| joined((host, &Demands::new()), &asked).1;
        assert_eq!(demands(Level::Standard), Demands::from([(MEMORY, Demand::Prefer)]));
        assert_eq!(demands(Level::Strict), Demands::new());
    }

    #[test]
    fn the_host_switches_off_what_it_wants() {
        let host = Demands::from([(Protection::SystemCalls, Demand::Off)]);
        let asked = asks(None, &[("system-calls", sandbox::Demand::Prefer)]);
        assert_eq!(joined((Level::Standard, &host), &asked).1, host);
    }
}
