//! The backend over tiny models with random weights: every architecture, every shape of an answer, every kind of
//! damage. A random model wants nothing, so what it writes within a shape is the constraint's doing alone.

mod chat;
mod damage;
mod embed;
mod fixtures;
mod shapes;
