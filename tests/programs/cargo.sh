# A Cargo workspace with its target directory in staging: build, test, build again after a change.
# Version: cargo --version
cd "$AREA"
mkdir -p one/src two/src
printf '[workspace]\nmembers = ["one", "two"]\nresolver = "2"\n' >Cargo.toml
printf '[package]\nname = "one"\nversion = "0.1.0"\nedition = "2021"\n' >one/Cargo.toml
printf '[package]\nname = "two"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\none = { path = "../one" }\n' >two/Cargo.toml
printf 'pub fn add(a: u32, b: u32) -> u32 { a + b }\n#[test]\nfn adds() { assert_eq!(add(1, 2), 3); }\n' >one/src/lib.rs
printf 'fn main() { println!("{}", one::add(20, 22)); }\n' >two/src/main.rs
export CARGO_TARGET_DIR=$AREA/target
cargo build --offline --quiet
[ "$(target/debug/two)" = 42 ]
cargo test --offline --quiet
[ "$(cargo build --offline --message-format json | grep -c '"fresh":true')" -ge 2 ]
sed -i 's/a + b/a + b + 1/' one/src/lib.rs
cargo build --offline --quiet
[ "$(target/debug/two)" = 43 ]
cargo clean --quiet
[ ! -e target/debug ]
