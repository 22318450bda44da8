//! The kinds that a worker names, and the versions of each.

use longshore_engine::KindRange;

use super::Bounds;
use super::check::check_count;
use crate::api::KindVersions;
use crate::http::refusal::Refusal;
use crate::http::text::check_name;

/// What a worker runs; `None` where it names nothing.
pub(crate) fn kind_ranges(
    kinds: &[String],
    versions: &[KindVersions],
    bounds: &Bounds,
) -> Result<Option<Vec<KindRange>>, Refusal> {
    check_count("kinds", kinds.len(), bounds.kinds_max, "names")?;
    let left = bounds.kinds_max.saturating_sub(kinds.len());
    check_count("versions", versions.len(), left, "ranges beside the kinds")?;
    for (index, kind) in kinds.iter().enumerate() {
        check_name(&format!("kinds[{index}]"), kind)?;
    }
    let mut ranges: Vec<_> = kinds.iter().map(KindRange::unversioned).collect();
    for (index, KindVersions { kind, from, to }) in versions.iter().enumerate() {
        check_name(&format!("versions[{index}].kind"), kind)?;
        if from > to {
            let field = format!("versions[{index}].from");
            return Err(Refusal::value(&field, from, format!("at most {to}, which is the last")));
        }
        ranges.push(KindRange { kind: kind.clone(), from: *from, to: *to });
    }
    Ok((!ranges.is_empty()).then_some(ranges))
}
