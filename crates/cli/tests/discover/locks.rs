//! Lock files: made, checked, compared, pulled, and looked for.

use super::{Ends as _, pod, world};
use larder_testkit::ImageBuilder;

#[test]
fn what_was_locked_is_pulled_though_the_tag_has_moved() {
    let (registry, home, web, db) = world();
    let (web_name, db_name) =
        (registry.reference("shop/web:1").to_string(), registry.reference("shop/db:1").to_string());
    home.write("shop.yaml", pod(&[&web_name, &db_name])).unwrap();

    let missing = home.run(["ready", "shop.yaml"]).ends(3);
    assert!(missing.stderr.contains(&format!("larder pull {web_name}")), "{}", missing.stderr);
    home.run(["lock", "shop.yaml"]).ends(0);
    home.run(["lock", "--check"]).ends(0);

    ImageBuilder::new(79).build().push(&registry, "shop/web", Some("1"));
    let moved = home.run(["lock", "--check", "-o", "json"]).ends(7).json().unwrap();
    assert_eq!(moved["moved"][0]["image"], web_name);
    assert_eq!(moved["moved"][0]["from"], web.digest().to_string());
    assert_eq!((&moved["new"], &moved["gone"]), (&serde_json::json!([]), &serde_json::json!([])));

    home.run(["pull", "--lock", "larder.lock"]).ends(0);
    let raw = home.run(["inspect", "--raw", &web_name]).ends(0).stdout;
    assert_eq!(raw.as_bytes(), web.raw());
    let names = home.run(["list", "-q"]).ends(0).stdout;
    assert_eq!(names.lines().count(), 2, "{names}");
    registry.down();
    home.run(["ready", "--lock", "larder.lock"]).ends(0);
    home.run(["ready", "shop.yaml"]).ends(0);
    registry.up();

    // Another image under the locked name is not what was locked.
    home.run(["pull", &web_name]).ends(0);
    let other = home.run(["ready", "--lock", "larder.lock"]).ends(7);
    assert!(other.stderr.contains(&web.digest().to_string()), "{}", other.stderr);
    let _ = db;
}

#[test]
fn several_names_of_one_image_are_all_pulled() {
    let (registry, home, web, _) = world();
    web.push(&registry, "shop/web", Some("latest"));
    web.push(&registry, "shop/web", Some("1.0"));
    let name = |tag: &str| registry.reference(&format!("shop/web{tag}")).to_string();
    let names = [name(":1"), name(":1.0"), name(":latest"), name(&format!("@{}", web.digest()))];
    let listed =
        || -> Vec<String> { home.run(["list", "-q"]).ends(0).stdout.lines().map(str::to_owned).collect() };
    home.write("three.yaml", pod(&[&names[0], &names[1], &names[2]])).unwrap();
    home.run(["lock", "three.yaml", "-o", "three.lock"]).ends(0);
    home.run(["pull", "--lock", "three.lock"]).ends(0);
    assert_eq!(listed(), names[..3]);
    let mistaken = home.run(["pull", "--from-file", "three.lock"]).ends(2);
    assert!(mistaken.stderr.contains("--lock three.lock"), "{}", mistaken.stderr);
    // A name by digest that is asked for, or was there before, stays.
    home.write("four.yaml", pod(&[&names[0], &names[1], &names[2], &names[3]])).unwrap();
    home.run(["lock", "four.yaml", "-o", "four.lock"]).ends(0);
    home.run(["pull", "--lock", "four.lock"]).ends(0);
    assert_eq!(listed().len(), 4);
    home.run(["pull", "--lock", "three.lock"]).ends(0);
    assert_eq!(listed().len(), 4);
    home.run(["ready", "--lock", "four.lock"]).ends(0);
}

#[test]
fn a_lock_file_that_would_not_be_whole_is_nowhere() {
    let (registry, home, ..) = world();
    let absent = registry.reference("shop/absent:1").to_string();
    home.write("shop.yaml", pod(&[&registry.reference("shop/web:1").to_string(), &absent])).unwrap();
    let printing: [&[&str]; 3] =
        [&["discover", "-o", "lock"], &["lock", "--file", "-"], &["lock", "-o", "-"]];
    for arguments in printing {
        let outcome = home.run([arguments, &["shop.yaml"]].concat()).ends(3);
        assert_eq!(outcome.stdout, "", "{arguments:?}");
        assert!(outcome.stderr.contains("would not be complete"), "{}", outcome.stderr);
    }
    home.run(["lock", "shop.yaml", "--file", "-", "-o", "json"]).ends(3).json().unwrap();
    home.run(["lock", "shop.yaml", "-o", "new.lock"]).ends(3);
    home.run(["lock", "shop.yaml", "-o", "new.lock", "--file", "new.lock"]).ends(2);
    assert!(!home.path().join("new.lock").exists() && !home.path().join("-").exists());
}

#[test]
fn a_manifest_that_somebody_wrote_into_the_lock_file_is_noticed() {
    let (registry, home, web, db) = world();
    home.write("shop.yaml", pod(&[&registry.reference("shop/web:1").to_string()])).unwrap();
    home.run(["lock", "shop.yaml"]).ends(0);
    let text = std::fs::read_to_string(home.path().join("larder.lock")).unwrap();
    let (head, tail) = text.split_once("manifests:").unwrap();
    let tail = tail.replace(&web.digest().to_string(), &db.digest().to_string());
    home.write("larder.lock", format!("{head}manifests:{tail}")).unwrap();
    let moved = home.run(["lock", "--check", "-o", "json"]).ends(7).json().unwrap();
    assert_eq!(moved["moved"][0]["from"], db.digest().to_string());
    assert_eq!(moved["moved"][0]["to"], web.digest().to_string());
}

#[test]
fn a_registry_is_looked_through_to_the_last_layer() {
    let (registry, home, web, _) = world();
    let name = registry.reference("shop/web:1").to_string();
    home.write("shop.yaml", pod(&["elsewhere.test/shop/web:1"])).unwrap();
    let host = registry.host();
    home.run(["ready", "shop.yaml", "--registry", &host]).ends(0);
    let layer = web.layers[1].digest;
    registry.remove("shop/web", &layer);
    let lacking = home.run(["ready", "shop.yaml", "--registry", &host]).ends(3);
    assert!(lacking.stderr.contains(&layer.to_string()), "{}", lacking.stderr);
    home.write("shop.yaml", pod(&["elsewhere.test/shop/nothing:1", &name])).unwrap();
    let answer = home.run(["ready", "shop.yaml", "--registry", &host, "-o", "json"]).ends(3).json().unwrap();
    assert_eq!(answer["ready"], false);
    assert_eq!(answer["images"].as_array().unwrap().len(), 2);
}

#[test]
fn one_image_that_cannot_be_pinned_leaves_the_old_file_alone() {
    let (registry, home, _, db) = world();
    let (web_name, db_name) =
        (registry.reference("shop/web:1").to_string(), registry.reference("shop/db:1").to_string());
    home.write("shop.yaml", pod(&[&web_name])).unwrap();
    home.run(["lock", "shop.yaml"]).ends(0);
    let before = std::fs::read_to_string(home.path().join("larder.lock")).unwrap();
    assert!(before.contains("shop.yaml:6: Pod p, spec.containers[0].image"), "{before}");

    let absent = registry.reference("shop/absent:1").to_string();
    home.write("shop.yaml", pod(&[&web_name, &db_name, &absent])).unwrap();
    let outcome = home.run(["lock", "shop.yaml"]).ends(3);
    assert!(outcome.stderr.contains("shop/absent:1"), "{}", outcome.stderr);
    assert_eq!(std::fs::read_to_string(home.path().join("larder.lock")).unwrap(), before);

    // Differences: against a new lock, and between files.
    home.write("shop.yaml", pod(&[&db_name])).unwrap();
    let difference = home.run(["lock", "shop.yaml", "--diff", "larder.lock"]).ends(7).stdout;
    assert_eq!(difference, format!("new    {db_name}\ngone   {web_name}\n"));
    home.run(["lock", "shop.yaml", "--file", "new.lock"]).ends(0);
    home.run(["lock", "--file", "new.lock", "--diff", "larder.lock"]).ends(7);
    home.run(["lock", "--file", "new.lock", "--diff", "new.lock"]).ends(0);
    let platform = home.run(["lock", "shop.yaml", "--platform", "linux/riscv64", "--file", "r.lock"]).ends(3);
    assert!(platform.stderr.contains("riscv64"), "{}", platform.stderr);
    let printed = home.run(["discover", "shop.yaml", "-o", "lock"]).ends(0).stdout;
    assert!(printed.contains(&db.digest().to_string()), "{printed}");
}

#[test]
fn a_damaged_lock_file_says_what_is_wrong_with_it() {
    let (_registry, home, ..) = world();
    home.write("larder.lock", "version: 9\nplatforms: []\nsources: []\nimages: []\n").unwrap();
    let outcome = home.run(["pull", "--lock", "larder.lock"]).ends(8);
    assert!(outcome.stderr.contains("version 9"), "{}", outcome.stderr);
    home.write("larder.lock", "version: 2\nrobots: [r2d2]\n").unwrap();
    let later = home.run(["pull", "--lock", "larder.lock"]).ends(8);
    assert!(later.stderr.contains("version 2; this larder knows 1"), "{}", later.stderr);
    home.write("larder.lock", b"version: \xff\n").unwrap();
    home.run(["pull", "--lock", "larder.lock"]).ends(8);
    home.write(
        "larder.lock",
        "version: 1\nplatforms: []\nsources: []\nimages: [{image: 'a:1', digest: nonsense}]\n",
    )
    .unwrap();
    let wrong = home.run(["ready", "--lock", "larder.lock"]).ends(8);
    assert!(wrong.stderr.contains("line 4, column "), "{}", wrong.stderr);
    let absent = home.run(["pull", "--lock", "absent.lock"]).ends(3);
    assert!(absent.stderr.contains("larder lock SOURCE"), "{}", absent.stderr);
}

#[test]
fn a_lock_file_is_checked_as_it_was_made() {
    let (registry, home, ..) = world();
    let (web, db) =
        (registry.reference("shop/web:1").to_string(), registry.reference("shop/db:1").to_string());
    home.write("pod.yaml", pod(&[&web])).unwrap();
    home.write("text.yaml", format!("apiVersion: v1\nkind: Event\nmessage: pulls {db} now\n")).unwrap();
    home.write("Dockerfile", format!("ARG FROM\nFROM {}:$FROM\n", web.trim_end_matches(":1"))).unwrap();
    let missing = home.run(["lock", "Dockerfile"]).ends(8);
    assert!(missing.stderr.contains("--build-arg"), "{}", missing.stderr);

    let sources = ["pod.yaml", "text.yaml", "Dockerfile"];
    let flags = ["--confidence", "possible", "--build-arg", "FROM=1"];
    home.run([&["lock"][..], &sources, &flags].concat()).ends(0);
    let written = std::fs::read_to_string(home.path().join("larder.lock")).unwrap();
    assert!(written.contains(&db), "{written}");
    assert_eq!(home.run(["lock", "--check"]).ends(0).stdout, "no difference\n");
    let surer = home.run(["lock", "--check", "--confidence", "likely"]).ends(7);
    assert_eq!(surer.stdout, format!("gone   {db}\n"));

    // What is in a file that is not there is not known to be gone.
    std::fs::remove_file(home.path().join("text.yaml")).unwrap();
    let unknown = home.run(["lock", "--check", "-o", "json"]).ends(3);
    assert_eq!(unknown.json().unwrap()["gone"], serde_json::json!([]));
    let unknown = home.run(["lock", "--check"]).ends(3);
    assert!(!unknown.stdout.contains("no difference"), "{}", unknown.stdout);

    home.run(["pull", &web]).ends(0);
    home.run(["ready", "Dockerfile", "--build-arg", "FROM=1"]).ends(0);
    let unknown = home.run(["ready", "pod.yaml", "text.yaml"]).ends(3);
    assert!(unknown.stdout.starts_with("not known"), "{}", unknown.stdout);
}

#[test]
fn a_lock_file_is_checked_from_wherever_one_is() {
    let (registry, home, ..) = world();
    let web = registry.reference("shop/web:1").to_string();
    for directory in ["apps/m", "locks", "else"] {
        std::fs::create_dir_all(home.path().join(directory)).unwrap();
    }
    home.write("apps/m/pod.yaml", pod(&[&web])).unwrap();
    home.write("rules.yaml", "rules: []\n").unwrap();
    let sources = ["apps/m", "--rules", "rules.yaml", "--file", "locks/larder.lock"];
    home.run([&["lock"][..], &sources].concat()).ends(0);
    let written = std::fs::read_to_string(home.path().join("locks/larder.lock")).unwrap();
    assert!(written.contains("- ../apps/m\n") && written.contains("--rules=../rules.yaml"), "{written}");
    for (directory, file) in
        [("", "locks/larder.lock"), ("locks", "larder.lock"), ("else", "../locks/larder.lock")]
    {
        let check =
            home.larder(["lock", "--check", "--file", file]).directory(&home.path().join(directory)).run();
        assert_eq!(check.ends(0).stdout, "no difference\n", "{directory}");
    }
}

#[test]
fn who_names_nothing_is_told_what_there_is_to_name() {
    let (_registry, home, ..) = world();
    let lock = home.run(["lock"]).ends(2);
    assert!(lock.stderr.contains("--check") && lock.stderr.contains("--diff"), "{}", lock.stderr);
    let ready = home.run(["ready"]).ends(2);
    assert!(ready.stderr.contains("--lock"), "{}", ready.stderr);
}

#[test]
fn words_of_a_lock_file_that_are_no_arguments_are_named() {
    let (_registry, home, ..) = world();
    home.write("larder.lock", "version: 1\nplatforms: []\nsources: [a.yaml, --home=/x]\nimages: []\n")
        .unwrap();
    let wrong = home.run(["lock", "--check"]).ends(2);
    assert!(wrong.stderr.contains("cannot be understood: unexpected argument '--home'"), "{}", wrong.stderr);
    assert!(!wrong.stderr.contains("Usage"), "{}", wrong.stderr);
}

#[test]
fn an_endless_lock_file_is_refused() {
    let (_registry, home, ..) = world();
    let endless = home.run(["pull", "--lock", "/dev/zero"]).ends(8);
    assert!(endless.stderr.contains("larger than 64 MiB"), "{}", endless.stderr);
}

#[test]
fn a_check_takes_its_flags_from_the_file_and_secrets_are_pointed_out() {
    let (registry, home, ..) = world();
    let name = registry.reference("shop/web:1").to_string();
    home.write("app/Chart.yaml", "apiVersion: v2\nname: app\nversion: 1.0.0\n").unwrap();
    home.write("app/templates/pod.yaml", pod(&["{{ .Values.image }}"]).replace('"', "'")).unwrap();
    let set = format!("image={name}");
    let locked = home.run(["lock", "app", "--set", &set, "--set", "db.password=s3cret"]).ends(0);
    assert!(locked.stderr.contains("--set=db.password is written to the lock file"), "{}", locked.stderr);
    assert!(!locked.stderr.contains("s3cret"), "{}", locked.stderr);
    home.run(["lock", "--check"]).ends(0);
    let given = home.run(["lock", "--check", "-f", "absent.yaml"]).ends(2);
    assert!(given.stderr.contains("--values=absent.yaml"), "{}", given.stderr);
    home.run(["lock", "--check", "--platform", "linux/arm64"]).ends(2);
    let json = home.run(["lock", "app", "--set", &set, "--file", "-", "-o", "json"]).ends(0).json().unwrap();
    assert_eq!(json["lock"]["images"][0]["image"], name);
}
