//! `hm-server`.

fn main() {}
