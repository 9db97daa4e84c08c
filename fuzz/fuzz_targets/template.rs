//! Templates with Sprig's and Helm's functions: limits hold, places are inside of the text, the same run gives the same bytes.
#![no_main]

use larder_gotemplate::{Error, Limits, RunOptions, Templates, helm, yaml};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let mut templates = Templates::new(helm());
    let lines = text.iter().filter(|byte| **byte == b'\n').count() + 1;
    match templates.parse("t", text) {
        Ok(()) => {}
        Err(Error::Parse { line, .. }) => return assert!(line >= 1 && line as usize <= lines),
        Err(error) => panic!("{error}"),
    }
    let data = yaml::parse(
        b"Values: {a: 1, s: text, l: [1, x, null], m: {k: v, n: {d: 1.5}}, t: '{{ .Values.s }}'}",
    );
    let data = data.expect("this is YAML");
    let limits = Limits { bytes: 1 << 20, steps: 10_000, ..Limits::default() };
    for tolerant in [false, true] {
        let options = RunOptions { limits, tolerant, seed: 1, ..RunOptions::default() };
        let result = templates.execute("t", &data, &options);
        match &result {
            Ok(output) => {
                assert!(output.text.len() <= limits.bytes);
                assert!(tolerant || output.diagnostics.is_empty());
                assert!(output.diagnostics.iter().all(|diagnostic| diagnostic.line >= 1));
            }
            Err(error) => assert!(!error.helm().is_empty()),
        }
        // What `set` changed in the values may change what the next run sees, but `now` and chance may not. What was kept from
        // the first run costs the second nothing, so that it may get farther before it reaches a limit.
        let is_limit = result.as_ref().is_err_and(Error::is_limit);
        if !is_limit && !text.windows(3).any(|word| matches!(word, b"set" | b"erg")) {
            assert_eq!(templates.execute("t", &data, &options), result);
        }
    }
});
