//! Whether what would hold is enough for a spec's level and demands. Pure.
//!
//! A level is a demand of everything at once. A demand of one protection is stronger: `require` asks
//! for it at any level, `prefer` and `off` excuse the layers that serve nothing but what is excused.

use crate::{
    enforcement::{Layer, LayerReport, Status},
    limit::Limit,
    plan::PlanError,
    protection::{Demand, Grade, Hold, Protection},
    spec::{Level, Spec},
};

/// Layers without which level `standard` refuses to start, and the protections that fall with each.
/// Landlock's ports count only where single ports were granted: nothing else would keep the others
/// closed.
const ESSENTIAL: [(Layer, &[Protection]); 4] = [
    (Layer::LandlockFiles, &[Protection::FilesRead, Protection::FilesWrite]),
    (Layer::LandlockNetwork, &[Protection::Network]),
    (Layer::Seccomp, &[Protection::SystemCalls]),
    (Layer::NoNewPrivileges, &[Protection::Privileges]),
];

/// Refuses a spec of which something demanded would not hold.
pub(super) fn check(
    spec: &Spec,
    layers: &[LayerReport],
    grades: &[Grade],
) -> Result<(), PlanError> {
    for (protection, demand) in &spec.demands {
        match demand {
            Demand::Off if !protection.can_be_off() => {
                return Err(PlanError::CannotBeOff(*protection));
            }
            Demand::Require => required(*protection, grades)?,
            Demand::Prefer | Demand::Off => {}
        }
    }
    match spec.level {
        Level::None => Ok(()),
        Level::Standard => standard(spec, layers, grades),
        Level::Strict => strict(spec, layers, grades),
    }
}

/// Whether a protection need not hold, since it was said so by name.
pub(super) fn is_excused(spec: &Spec, protection: Protection) -> bool {
    matches!(spec.demands.get(&protection), Some(Demand::Prefer | Demand::Off))
}

/// Whether the loss of a layer is excused at level `strict`: all that it serves is.
pub(super) fn is_layer_excused(spec: &Spec, layer: Layer) -> bool {
    let served = served(layer);
    !served.is_empty() && served.iter().all(|protection| is_excused(spec, *protection))
}

fn required(protection: Protection, grades: &[Grade]) -> Result<(), PlanError> {
    let grade = grades.iter().find(|grade| grade.protection == protection);
    match grade {
        Some(grade) if grade.hold == Hold::Enforced => Ok(()),
        Some(grade) => Err(unmet(grade, None)),
        // Only what nobody asked for has no grade, and only limits can be that.
        None => Err(PlanError::Unmet {
            protection,
            level: None,
            hold: Hold::Off,
            why: "no such limit was given".to_owned(),
            ways: Vec::new(),
        }),
    }
}

fn unmet(grade: &Grade, level: Option<Level>) -> PlanError {
    let Grade { protection, hold, consequence, .. } = grade.clone();
    PlanError::Unmet { protection, level, hold, why: consequence, ways: Vec::new() }
}

fn standard(spec: &Spec, layers: &[LayerReport], grades: &[Grade]) -> Result<(), PlanError> {
    for (layer, protections) in ESSENTIAL {
        let absent = layers.iter().any(|it| it.layer == layer && it.status == Status::Absent);
        let lost = protections.iter().filter(|protection| !is_excused(spec, **protection));
        for protection in lost.filter(|_| absent) {
            let grade = grades.iter().find(|grade| grade.protection == *protection);
            if let Some(grade) = grade.filter(|it| !matches!(it.hold, Hold::Enforced | Hold::Off)) {
                return Err(unmet(grade, Some(Level::Standard)));
            }
        }
    }
    Ok(())
}

fn strict(spec: &Spec, layers: &[LayerReport], grades: &[Grade]) -> Result<(), PlanError> {
    let level = Level::Strict;
    let missing = |it: &&LayerReport| {
        // The limits, each by itself, say more than their layer as a whole.
        it.layer != Layer::Rlimits
            && matches!(it.status, Status::Absent | Status::Partial)
            && !is_layer_excused(spec, it.layer)
    };
    if let Some(report) = layers.iter().find(missing) {
        let (layer, why) = (report.layer, report.why.clone());
        return Err(PlanError::Required { layer, level, why, ways: Vec::new() });
    }
    let lost = |it: &&Grade| {
        !matches!(it.hold, Hold::Enforced | Hold::Off) && !is_excused(spec, it.protection)
    };
    grades.iter().find(lost).map_or(Ok(()), |grade| Err(unmet(grade, Some(level))))
}

/// The protections that fall, or lose a second guard, with a layer.
fn served(layer: Layer) -> &'static [Protection] {
    match layer {
        Layer::Environment => &[Protection::Environment],
        Layer::Cgroup => &[Protection::Lifetime],
        Layer::MountNamespace => &[
            Protection::FilesRead,
            Protection::FilesWrite,
            Protection::FilesNames,
            Protection::FilesMetadata,
            Protection::SocketsUnix,
            Protection::Limit(Limit::Disk),
        ],
        Layer::PidNamespace => &[Protection::Processes, Protection::Lifetime],
        Layer::NetworkNamespace => &[Protection::Network, Protection::SocketsAbstract],
        Layer::IpcNamespace => &[Protection::Ipc],
        Layer::DedicatedUser | Layer::Capabilities | Layer::NoNewPrivileges => {
            &[Protection::Privileges]
        }
        Layer::ProcessHygiene => &[Protection::Descriptors],
        Layer::LandlockFiles => &[Protection::FilesRead, Protection::FilesWrite],
        Layer::LandlockNetwork => &[Protection::Network],
        Layer::LandlockScopes => &[Protection::SocketsAbstract, Protection::Processes],
        Layer::Seccomp => &[Protection::SystemCalls],
        // What they serve is convenience (a grant that works) or a second guard of everything.
        Layer::UserNamespace
        | Layer::UtsNamespace
        | Layer::CgroupNamespace
        | Layer::IdMappedMounts
        | Layer::Rlimits => &[],
    }
}
