//! Tests of the node as a whole: real threads, real files, and faults put in on purpose.

mod crash;
mod faulty;
mod life;
mod limits;
mod slow_disk;
mod support;
