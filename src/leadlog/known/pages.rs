//! A ring of pages of bytes, which takes what it is given one behind the other and forgets what is oldest.
//!
//! Writing runs through memory in order and frees nothing, so it waits for no cache; and the ring takes as much memory as it
//! has pages, whatever is written. A [`Pen`] has a page of its own, so writers share nothing but the count of pages begun.
//! Readers copy out what they look for and then see whether the page was begun anew meanwhile (a seqlock of each page).

use std::sync::{
    Arc, OnceLock,
    atomic::{
        AtomicBool, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
        fence,
    },
};

/// Bytes of a page, and the most that one piece can have: 14 KiB. Of larger pieces the allocator takes a quarter more.
const PAGE: usize = WORDS * WORD;

const WORDS: usize = 1_792;
/// Bits that tell the words of a page apart.
const WORD_BITS: u32 = 11;
const WORD: usize = size_of::<u64>();

/// Bits of a [`Spot`].
pub(super) const SPOT_BITS: u32 = 48;

/// The ring.
#[derive(Debug)]
pub(super) struct Pages {
    pages: Box<[Page]>,
    /// Pages begun since the start.
    begun: AtomicU64,
}

#[derive(Debug, Default)]
struct Page {
    /// Which of all pages begun it is; 0 before the first.
    number: AtomicU64,
    /// A pen has it.
    is_held: AtomicBool,
    /// Made when it is begun for the first time: nobody pays for a ring that is not used.
    words: OnceLock<Box<[AtomicU64]>>,
}

/// Where something was written: the page's number and the word in it. Its bits have room for two thousand terabytes; behind
/// them nothing of before is found any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot(u64);

impl Spot {
    fn new(number: u64, word: usize) -> Self {
        Self::from_bits(number << WORD_BITS | word as u64)
    }

    /// From the lower bits of a word.
    pub(super) fn from_bits(bits: u64) -> Self {
        Self(bits & ((1 << SPOT_BITS) - 1))
    }

    /// Never above [`SPOT_BITS`].
    pub(super) fn bits(self) -> u64 {
        self.0
    }

    /// How far before `end` it is.
    pub(super) fn age(self, end: Self) -> u64 {
        Self::from_bits(end.0.wrapping_sub(self.0)).0
    }

    fn word(self) -> usize {
        // Of so few bits.
        (self.0 & ((1 << WORD_BITS) - 1)) as usize
    }

    fn number(self) -> u64 {
        self.0 >> WORD_BITS
    }
}

impl Pages {
    /// A ring of at least so many bytes, of none with 0. Each pen needs a page, so there are not few.
    pub(super) fn new(bytes: usize) -> Self {
        const LEAST: usize = 64;
        let pages = if bytes == 0 { 0 } else { bytes.div_ceil(PAGE).max(LEAST) };
        Self { pages: (0..pages).map(|_| Page::default()).collect(), begun: AtomicU64::new(0) }
    }

    /// What stands at a spot, by parts: `read` is given a reader of it and says what it found. `None` where something else
    /// stands there by now.
    pub(super) fn read<T>(&self, spot: Spot, read: impl FnOnce(&mut Reader<'_>) -> Option<T>) -> Option<T> {
        let page = self.pages.get(self.index(spot.number())?)?;
        let number = page.number.load(Acquire);
        if Spot::new(number, spot.word()) != spot {
            return None;
        }
        let found = read(&mut Reader { words: page.words.get()?.get(spot.word()..)? });
        // Whoever begins the page anew says so before it writes: who has read a word of that sees the other number.
        fence(Acquire);
        found.filter(|_| page.number.load(Relaxed) == number)
    }

    /// Behind all that is written now.
    pub(super) fn end(&self) -> Spot {
        Spot::new(self.begun.load(Relaxed) + 1, 0)
    }

    /// Whether a spot is still there.
    pub(super) fn holds(&self, spot: Spot) -> bool {
        self.read(spot, |_| Some(())).is_some()
    }

    /// Where the page of a number is, as far as a spot tells numbers apart.
    fn index(&self, number: u64) -> Option<usize> {
        usize::try_from(Spot::new(number, 0).number().checked_rem(self.pages.len() as u64)?).ok()
    }

    /// Whether a page was begun so long ago that it is to be read and no more: what is written there would count as old.
    fn is_past(&self, number: u64) -> bool {
        self.begun.load(Relaxed).wrapping_sub(number) > self.pages.len() as u64 / 8
    }

    /// A page for a pen to write on: the oldest that no other has. `None` where all are held.
    fn begin(&self) -> Option<Held> {
        let (index, page, number) = (0..self.pages.len()).find_map(|_| {
            let number = self.begun.fetch_add(1, Relaxed).wrapping_add(1);
            let index = self.index(number)?;
            let page = self.pages.get(index)?;
            (!page.is_held.swap(true, Acquire)).then_some((index, page, number))
        })?;
        page.words.get_or_init(|| (0..WORDS).map(|_| AtomicU64::new(0)).collect());
        page.number.store(number, Relaxed);
        // Before any word that is written to it.
        fence(Release);
        Some(Held { index, number, next: 0 })
    }
}

/// Reads word by word what a pen wrote. It may be what another writes there just now: that is found out afterwards.
pub(super) struct Reader<'p> {
    words: &'p [AtomicU64],
}

impl Reader<'_> {
    /// The next word.
    pub(super) fn word(&mut self) -> Option<u64> {
        let (word, rest) = self.words.split_first()?;
        self.words = rest;
        Some(word.load(Relaxed))
    }

    /// The next bytes, which end with a word.
    pub(super) fn bytes(&mut self, length: usize) -> Option<Vec<u8>> {
        let (words, rest) = self.words.split_at_checked(length.div_ceil(WORD))?;
        self.words = rest;
        let mut bytes = Vec::with_capacity(words.len() * WORD);
        words.iter().for_each(|word| bytes.extend_from_slice(&word.load(Relaxed).to_le_bytes()));
        bytes.truncate(length);
        Some(bytes)
    }

    /// Whether the next bytes, which end with a word, are these.
    pub(super) fn are(&mut self, bytes: &[u8]) -> Option<bool> {
        let (words, rest) = self.words.split_at_checked(bytes.len().div_ceil(WORD))?;
        self.words = rest;
        Some(words.iter().zip(bytes.chunks(WORD)).all(|(word, bytes)| word.load(Relaxed) == packed(bytes)))
    }
}

/// Who writes on pages.
#[derive(Debug)]
pub(super) struct Pen {
    pages: Arc<Pages>,
    held: Option<Held>,
}

/// A page that a pen has.
#[derive(Debug)]
struct Held {
    index: usize,
    number: u64,
    /// The first word that is free.
    next: usize,
}

impl Pen {
    pub(super) fn new(pages: Arc<Pages>) -> Self {
        Self { pages, held: None }
    }

    /// Writes words and pieces of bytes, each of which begins with a word. Where all that is there is afterwards; `None`
    /// where it is longer than a page, or where other pens have all pages.
    pub(super) fn write<const W: usize>(&mut self, head: [u64; W], pieces: &[&[u8]]) -> Option<Spot> {
        let length = W + pieces.iter().map(|piece| piece.len().div_ceil(WORD)).sum::<usize>();
        if length > WORDS {
            return None;
        }
        let is_over = |held: &Held| held.next + length > WORDS || self.pages.is_past(held.number);
        if self.held.as_ref().is_none_or(is_over) {
            self.put_down();
            self.held = self.pages.begin();
        }
        let held = self.held.as_mut()?;
        let words = self.pages.pages.get(held.index)?.words.get()?;
        let spot = Spot::new(held.number, held.next);
        let free = words.get(held.next..held.next + length)?;
        let bytes = pieces.iter().flat_map(|piece| piece.chunks(WORD).map(packed));
        free.iter().zip(head.into_iter().chain(bytes)).for_each(|(word, value)| word.store(value, Relaxed));
        held.next += length;
        Some(spot)
    }

    fn put_down(&mut self) {
        let page = self.held.take().and_then(|held| self.pages.pages.get(held.index));
        page.into_iter().for_each(|page| page.is_held.store(false, Release));
    }
}

impl Drop for Pen {
    fn drop(&mut self) {
        self.put_down();
    }
}

/// Up to eight bytes as a word, the first of them lowest.
#[inline(always)]
fn packed(bytes: &[u8]) -> u64 {
    match bytes.first_chunk::<WORD>() {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(pages: &Pages, spot: Spot) -> Option<String> {
        pages.read(spot, |reader| {
            let length = usize::try_from(reader.word()?).ok()?;
            String::from_utf8(reader.bytes(length)?).ok()
        })
    }

    fn write(pen: &mut Pen, text: &str) -> Option<Spot> {
        pen.write([text.len() as u64], &[text.as_bytes()])
    }

    #[test]
    fn what_is_written_is_read_until_the_ring_comes_round() {
        let pages = Arc::new(Pages::new(1));
        let mut pen = Pen::new(Arc::clone(&pages));
        let check = |spot: Spot, expected: &str| {
            assert_eq!(text(&pages, spot).as_deref(), Some(expected));
            assert!(pages.holds(spot));
            assert_eq!(Spot::from_bits(!0 << SPOT_BITS | spot.bits()), spot);
        };
        let first = write(&mut pen, "").unwrap();
        let long = "é".repeat(PAGE / 2 - 16);
        let spots: Vec<Spot> = (0..64).map(|_| write(&mut pen, &long).unwrap()).collect();
        check(first, "");
        spots.iter().for_each(|spot| check(*spot, &long));
        let ages: Vec<u64> = spots.iter().map(|spot| spot.age(pages.end())).collect();
        // The first shares its page with the one behind it.
        assert!(first.age(pages.end()) > ages[0] && ages.is_sorted_by(|one, next| one > next), "{ages:?}");
        let last = write(&mut pen, &long).unwrap();
        assert_eq!((text(&pages, first), pages.holds(first)), (None, false), "its page was begun anew");
        check(spots[1], &long);
        check(last, &long);
        assert_eq!(write(&mut pen, &"x".repeat(PAGE)), None, "with its length it is longer than a page");
        check(write(&mut pen, "short").unwrap(), "short");
    }

    #[test]
    fn whoever_has_a_page_keeps_it() {
        let pages = Arc::new(Pages::new(1));
        let mut pens: Vec<Pen> = (0..64).map(|_| Pen::new(Arc::clone(&pages))).collect();
        let spots: Vec<Spot> = pens.iter_mut().map(|pen| write(pen, "mine").unwrap()).collect();
        let mut late = Pen::new(Arc::clone(&pages));
        assert_eq!(write(&mut late, "late"), None, "there is no page for it");
        pens.truncate(63);
        let other = write(&mut late, "late").unwrap();
        let found = spots.iter().filter(|spot| text(&pages, **spot).as_deref() == Some("mine"));
        assert_eq!((found.count(), text(&pages, other).as_deref()), (63, Some("late")));
    }

    #[test]
    fn a_ring_of_nothing_takes_nothing() {
        let pages = Arc::new(Pages::new(0));
        assert_eq!(write(&mut Pen::new(pages), "x"), None);
    }

    #[test]
    fn whoever_writes_seldom_does_not_write_among_what_is_old() {
        let pages = Arc::new(Pages::new(1));
        let [mut seldom, mut often] = [(), ()].map(|()| Pen::new(Arc::clone(&pages)));
        let first = write(&mut seldom, "first").unwrap();
        let long = "x".repeat(PAGE - WORD);
        (0..8).for_each(|_| _ = write(&mut often, &long));
        let second = write(&mut seldom, "second").unwrap();
        assert_eq!(second.number(), first.number(), "an eighth of the ring is nothing");
        _ = write(&mut often, &long);
        let third = write(&mut seldom, "third").unwrap();
        assert!(third.age(pages.end()) < WORDS as u64 * 2, "{third:?}");
        assert_eq!(
            text(&pages, second).as_deref(),
            Some("second"),
            "and what it wrote there stays for its time"
        );
    }

    #[test]
    fn what_is_written_over_while_it_is_read_is_not_read() {
        let pages = Arc::new(Pages::new(1));
        let mut pen = Pen::new(Arc::clone(&pages));
        let spot = write(&mut pen, "old").unwrap();
        let long = "x".repeat(PAGE - WORD);
        let found = pages.read(spot, |reader| {
            (0..64).for_each(|_| _ = write(&mut pen, &long));
            reader.word()
        });
        assert_eq!(found, None, "the last one stands on its page");
        let spot = write(&mut pen, "new").unwrap();
        let found = pages.read(spot, |reader| {
            (0..63).for_each(|_| _ = write(&mut pen, &long));
            reader.word()
        });
        assert_eq!(found, Some(3), "all pages but its own were");
    }

    #[test]
    fn nobody_reads_what_is_half_another() {
        let pages = Arc::new(Pages::new(1));
        let spots = crossbeam_queue::ArrayQueue::new(64);
        std::thread::scope(|scope| {
            for letter in ["a", "b"] {
                let (pages, spots) = (&pages, &spots);
                scope.spawn(move || {
                    let mut pen = Pen::new(Arc::clone(pages));
                    for length in (0..3_000).map(|n| 100 + n % 3_000) {
                        _ = spots.force_push(write(&mut pen, &letter.repeat(length)).unwrap());
                    }
                });
            }
            for _ in 0..20_000 {
                let Some(text) = spots.pop().and_then(|spot| text(&pages, spot)) else { continue };
                assert!(["a", "b"].iter().any(|letter| text == letter.repeat(text.len())), "{text}");
            }
        });
    }
}
