//! What values take of the heap, for caches that are bounded in bytes: arithmetic.

/// What allocators add to a block for themselves.
const OWN: usize = size_of::<usize>();
/// Blocks come in steps of so many bytes.
const STEP: usize = 16;
/// There are none with less room than this.
const LEAST: usize = 24;

/// What a block of so many bytes takes, as glibc rounds it; other allocators are near it. Nothing is not allocated.
pub(crate) const fn block(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        1..LEAST => LEAST + OWN,
        some => (some + OWN).next_multiple_of(STEP),
    }
}

/// What so many bytes behind an `Arc` take, with its counts.
pub(crate) const fn shared(bytes: usize) -> usize {
    block(bytes + 2 * size_of::<usize>())
}

/// What a list without spare room takes, without what its entries hold elsewhere.
pub(crate) const fn list<T>(entries: &[T]) -> usize {
    block(size_of_val(entries))
}

/// What a list of texts without spare room takes, texts included.
pub(crate) fn texts(texts: &[String]) -> usize {
    let held: usize = texts.iter().map(|text| block(text.len())).sum();
    list(texts) + held
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_what_was_asked_for_and_a_little_more() {
        assert_eq!([0, 1, 24, 25, 40, 41].map(block), [0, 32, 32, 48, 48, 64]);
        assert_eq!(shared(8), 32);
        assert_eq!(list::<u64>(&[]), 0);
        assert_eq!(texts(&["a".repeat(24), String::new()]), 64 + 32);
    }
}
