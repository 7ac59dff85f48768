//! What the journal promises of its bytes: what was written is read again, and nothing else is.

mod codec;
mod damage;
mod force;
mod threads;
