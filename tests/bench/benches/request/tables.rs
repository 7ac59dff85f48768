//! The tables that are printed.

use hm_bench::rounds::{Measured, Rounds};

/// What a layer adds to a request.
pub(crate) fn added(measured: &Measured) {
    let bare = measured.of("bare");
    let salvo = measured.of("bare Salvo");
    let governor = measured.of("tower_governor").minus(&bare);
    println!("| whole request | ns, median (least) | added to bare | ÷ tower_governor's addition (rounds) |");
    println!("| --- | --- | --- | --- |");
    for (name, base) in [
        ("bare", None),
        ("tower_governor", Some(&bare)),
        ("full layer", Some(&bare)),
        ("bare Salvo", None),
        ("salvo-rate-limiter", Some(&salvo)),
    ] {
        let whole = measured.of(name);
        let (added, ratio) = base.map_or_else(
            || (String::new(), String::new()),
            |base| {
                let added = whole.minus(base);
                (format!("{:.0}", added.median()), spread(&added.per(&governor)))
            },
        );
        println!("| {name} | {} | {added} | {ratio} |", time(&whole));
    }
    let waited = measured.waited("full layer");
    println!(
        "\nNot warm: {:.2} % of the full layer's requests.\n",
        waited * 100.0
    );
}

/// The engine beside Tollgate's.
pub(crate) fn verify_and_admit(measured: &Measured) {
    let part = |name: &str, stage: &str| measured.of(&format!("{name}: {stage}"));
    let until_admitted = |name: &str| part(name, "verify").plus(&part(name, "admit"));
    let until_end = |name: &str| until_admitted(name).plus(&part(name, "end"));
    let admitted = measured.of("admit: 2 rates, quota");
    let ended = admitted.plus(&measured.of("end: 2 rates, quota"));
    println!("| without HTTP | verify and admit | ours ÷ it (rounds) | … to the end | ours ÷ it (rounds) |");
    println!("| --- | --- | --- | --- | --- |");
    println!("| ours | {} | | {} | |", time(&admitted), time(&ended));
    for name in ["tollgate", "tollgate, sessions"] {
        let (theirs, to_the_end) = (until_admitted(name), until_end(name));
        println!(
            "| {name} | {} | {} | {} | {} |",
            time(&theirs),
            spread(&admitted.per(&theirs)),
            time(&to_the_end),
            spread(&ended.per(&to_the_end)),
        );
    }
    println!();
}

/// Every stage that was measured.
pub(crate) fn stages(measured: &Measured) {
    println!("| stage | ns, median (least) |");
    println!("| --- | --- |");
    for (name, rounds) in measured.stages() {
        if name == "governor alone" || name == "shape and checksum" || name.contains(": ") {
            println!("| {name} | {} |", time(&rounds));
        }
    }
    println!();
}

fn time(rounds: &Rounds) -> String {
    format!("{:.0} ({:.0})", rounds.median(), rounds.least())
}

fn spread(rounds: &Rounds) -> String {
    format!(
        "{:.2} ({:.2}–{:.2})",
        rounds.median(),
        rounds.least(),
        rounds.greatest()
    )
}
