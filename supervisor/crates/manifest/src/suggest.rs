//! "Did you mean": the nearest allowed word to one that is not.

/// Words longer than this are not compared; nobody mistypes them into a key of ours.
const MAX_LENGTH: usize = 40;

/// The allowed word nearest to `word`, if it is near enough to be a slip.
pub fn nearest<'w>(word: &str, allowed: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    if word.is_empty() || word.len() > MAX_LENGTH {
        return None;
    }
    let plain = plain(word);
    allowed
        .into_iter()
        .map(|candidate| (distance(&plain, &self::plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= tolerance(word.len().max(candidate.len())))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many slips are forgiven in a word of this length.
fn tolerance(length: usize) -> usize {
    match length {
        0..=2 => 0,
        3..=5 => 1,
        6..=9 => 2,
        _ => 3,
    }
}

/// Letter case and the choice of `-` or `_` are no difference.
fn plain(word: &str) -> Vec<char> {
    word.chars().filter(|c| !matches!(c, '-' | '_')).flat_map(char::to_lowercase).collect()
}

/// Edit distance with transposition of neighbours counted once (optimal string alignment).
fn distance(left: &[char], right: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=right.len()).collect();
    let mut last = None;
    for (row, &a) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        let mut beside = row + 1;
        for (column, (&b, pair)) in right.iter().zip(previous.windows(2)).enumerate() {
            let &[diagonal, above] = pair else { continue };
            let mut best = (diagonal + usize::from(a != b)).min(above + 1).min(beside + 1);
            let swapped = column > 0 && last == Some(b) && right.get(column - 1) == Some(&a);
            if swapped && let Some(corner) = before.get(column - 1) {
                best = best.min(corner + 1);
            }
            current.push(best);
            beside = best;
        }
        before = std::mem::replace(&mut previous, current);
        last = Some(a);
    }
    previous.last().copied().unwrap_or(left.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_find_their_word() {
        let keys = ["name", "version", "call_timeout", "open_files"];
        assert_eq!(nearest("nmae", keys), Some("name"));
        assert_eq!(nearest("Version", keys), Some("version"));
        assert_eq!(nearest("call-timeout", keys), Some("call_timeout"));
        assert_eq!(nearest("openfile", keys), Some("open_files"));
    }

    #[test]
    fn strangers_find_nothing() {
        let keys = ["name", "version"];
        assert_eq!(nearest("colour", keys), None);
        assert_eq!(nearest("", keys), None);
        assert_eq!(nearest(&"n".repeat(10_000), keys), None);
    }

    #[test]
    fn distance_counts_slips() {
        let cases = [
            ("abc", "abc", 0),
            ("abc", "acb", 1),
            ("abc", "", 3),
            ("", "ab", 2),
            ("kitten", "sitting", 3),
        ];
        for (left, right, slips) in cases {
            let (left, right): (Vec<_>, Vec<_>) = (left.chars().collect(), right.chars().collect());
            assert_eq!(distance(&left, &right), slips);
        }
    }
}
