//! What is fuzzed: each module takes any bytes and asserts what must hold of the answer. Used by the
//! tests and by libFuzzer, so nothing here may know who calls.

pub(crate) mod archive;
#[cfg(feature = "net")]
pub(crate) mod bucket;
pub(crate) mod catalog;
pub(crate) mod debian;
pub(crate) mod directory;
pub(crate) mod frame;
pub(crate) mod input;
pub(crate) mod manifest;
pub(crate) mod message;
pub(crate) mod name;
#[cfg(feature = "net")]
pub(crate) mod pack;
pub(crate) mod page;
pub(crate) mod path;
pub(crate) mod policy;
pub(crate) mod root;
pub(crate) mod session;
#[cfg(feature = "net")]
pub(crate) mod signature;
pub(crate) mod sink;
pub(crate) mod store;

/// Something that takes bytes from outside.
pub(crate) struct Target {
    /// Tries one input.
    ///
    /// # Panics
    /// When something does not hold.
    pub(crate) run: fn(&[u8]),
    /// Good inputs, as the real encoders make them.
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
}
