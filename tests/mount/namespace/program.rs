//! Programs that read from versions: compilers, archivers, searchers

use std::fs;
use std::path::Path;
use std::process::Command;

use support::{Cairn, content, tree};

#[track_caller]
fn shell(script: &str, arguments: &[&Path]) -> String {
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", script, "bash"]).args(arguments);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{script}\n{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A C project, published.
fn project() -> Cairn {
    let cairn = Cairn::start();
    let area = cairn.area("project", "v1");
    fs::create_dir(area.join("include")).unwrap();
    for unit in 0..20 {
        let declaration = format!("int f{unit}(void);\n");
        fs::write(area.join(format!("include/u{unit}.h")), declaration).unwrap();
        let text = format!("#include \"u{unit}.h\"\nint f{unit}(void) {{ return {unit}; }}\n");
        fs::write(area.join(format!("u{unit}.c")), text).unwrap();
    }
    let main = "#include <stdio.h>\n#include \"u7.h\"\n\
        int main(void) { printf(\"%d\\n\", f7()); return 0; }\n";
    fs::write(area.join("main.c"), main).unwrap();
    fs::write(area.join("configure"), "#!/bin/sh\necho \"from $(dirname \"$0\")\"\n").unwrap();
    support::area::set_mode(&area.join("configure"), 0o755);
    cairn.publish("project", "v1").unwrap();
    cairn
}

#[test]
fn an_out_of_tree_build_reads_its_sources_from_a_version() {
    let cairn = project();
    let source = cairn.versions("project/1");
    let build = cairn.scratch();
    let script = "cd \"$2\"; \"$1\"/configure >&2; \
        for c in \"$1\"/*.c; do gcc -MMD -I\"$1\"/include -c \"$c\" -o \"$(basename \"$c\" .c).o\"; done; \
        gcc ./*.o -o program; ./program; grep -c include/u7.h main.d";
    assert_eq!(shell(script, &[&source, &build]), "7\n1\n");
}

#[test]
fn a_build_in_staging_reads_a_version_and_is_published() {
    let cairn = project();
    let source = cairn.tags("project/latest");
    let build = cairn.area("build", "b1");
    let script = "cd \"$2\"; gcc -I\"$1\"/include \"$1\"/main.c \"$1\"/u7.c -o program";
    shell(script, &[&source, &build]);
    cairn.publish("build", "b1").unwrap();
    assert_eq!(shell("\"$1\"/program", &[&cairn.tags("build/b1")]), "7\n");
}

#[test]
fn archivers_and_searchers_see_the_whole_tree() {
    let cairn = project();
    let (source, out) = (cairn.versions("project/1"), cairn.scratch());
    assert_eq!(shell("grep -rl 'return 7;' \"$1\" | wc -l", &[&source]), "1\n");
    assert_eq!(shell("find \"$1\" -type f | wc -l", &[&source]), "42\n");
    let unpacked = out.join("unpacked");
    fs::create_dir(&unpacked).unwrap();
    shell("tar --format=pax -C \"$1\" -cf - . | tar -C \"$2\" -xpf -", &[&source, &unpacked]);
    tree::assert_same_below(&source, &unpacked);
    shell("cp -a \"$1\" \"$2\"/copied && diff -r \"$1\" \"$2\"/copied", &[&source, &out]);
}

#[test]
fn readers_in_parallel_all_read_right() {
    let cairn = Cairn::start();
    let area = cairn.area("lib", "a");
    for index in 0..100 {
        fs::write(area.join(format!("f{index}")), content::bytes(index, 20_000)).unwrap();
    }
    fs::write(area.join("large"), content::bytes(1000, 8_000_000)).unwrap();
    cairn.publish("lib", "a").unwrap();
    std::thread::scope(|scope| {
        for reader in 0..4 {
            let cairn = &cairn;
            scope.spawn(move || {
                for step in 0..100 {
                    let index = (step * 7 + reader * 25) % 100;
                    let path = cairn.versions(format!("lib/1/f{index}"));
                    assert!(fs::read(path).unwrap() == content::bytes(index, 20_000));
                }
                let large = fs::read(cairn.versions("lib/1/large")).unwrap();
                assert!(large == content::bytes(1000, 8_000_000));
            });
        }
    });
}
