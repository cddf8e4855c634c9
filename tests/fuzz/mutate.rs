//! New inputs from known ones: a few small changes, or two inputs joined.

use support::random::Random;

/// No input is longer.
const BYTES_MAX: usize = 64 * 1024;

/// Numbers at which arithmetic goes wrong.
const EDGES: [u64; 16] = [
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_fffe,
    0xffff_ffff_ffff_ffff,
];

/// Bytes that mean something in text.
const MARKS: &[u8] = b"\0\n /.,:=@%\"'{}[]-+0189aZ\\\x7f\xff";

/// Makes an input of one of the corpus, now and then with a part of another one.
pub(crate) fn mutate(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = random.pick(corpus).clone();
    if random.below(8) == 0 {
        let other = random.below(corpus.len());
        splice(&mut input, &corpus[other], random);
    }
    // Mostly one or two changes: what breaks several rules is refused by the first.
    let most = 1 << random.below(4);
    let changes = 1 + random.below(most);
    for _ in 0..changes {
        change(&mut input, random);
    }
    input.truncate(BYTES_MAX);
    input
}

/// Keeps the first part of `input` and goes on with the last part of `other`.
fn splice(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    input.truncate(random.below(input.len() + 1));
    input.extend_from_slice(&other[random.below(other.len() + 1)..]);
}

fn change(input: &mut Vec<u8>, random: &mut Random) {
    if input.is_empty() {
        input.push(random.byte());
        return;
    }
    let at = random.below(input.len());
    match random.below(12) {
        0 | 1 => input[at] ^= 1 << random.below(8),
        2 => input[at] = random.byte(),
        3 => input[at] = *random.pick(MARKS),
        4 => input[at] = input[at].wrapping_add(if random.below(2) == 0 { 1 } else { 255 }),
        5 => overwrite(input, at, random),
        6 => digits(input, at, random),
        7 => input.truncate(at),
        8 => {
            let end = (at + 1 + random.below(32)).min(input.len());
            input.drain(at..end);
        }
        9 => {
            let longest = if random.below(4) == 0 { 1024 } else { 16 };
            let end = (at + 1 + random.below(longest)).min(input.len());
            let block = input[at..end].to_vec();
            let to = random.below(input.len() + 1);
            input.splice(to..to, block);
        }
        10 => {
            let end = (at + 1 + random.below(16)).min(input.len());
            let from = random.below(input.len() - (end - at) + 1);
            input.copy_within(from..from + (end - at), at);
        }
        _ => {
            let byte = *random.pick(MARKS);
            input.insert(at, byte);
        }
    }
}

/// Puts a number of 1, 2, 4 or 8 bytes over what is there.
fn overwrite(input: &mut [u8], at: usize, random: &mut Random) {
    let width = 1 << random.below(4);
    let edge = *random.pick(&EDGES);
    let number = edge.wrapping_add(u64::from(random.byte() % 3)).wrapping_sub(1);
    let bytes = if random.below(4) == 0 { number.to_be_bytes() } else { number.to_le_bytes() };
    for (to, from) in input[at..].iter_mut().zip(&bytes[..width]) {
        *to = *from;
    }
}

/// Puts a number over the decimal digits that are there, or inserts one.
fn digits(input: &mut Vec<u8>, at: usize, random: &mut Random) {
    let start = input[at..].iter().position(u8::is_ascii_digit).map_or(at, |after| at + after);
    let end = start + input[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = random.pick(&EDGES).to_string();
    input.splice(start..end, number.into_bytes());
}
