//! What the store promises, tried from outside. One program, so that SQLite is linked once.

#[cfg(test)]
mod audit;
#[cfg(test)]
mod audit_tampering;
#[cfg(test)]
mod cached;
#[cfg(test)]
mod collection;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod database_damage;
#[cfg(test)]
mod derived;
#[cfg(test)]
mod follow;
#[cfg(test)]
mod full_disk;
#[cfg(test)]
mod ingest;
#[cfg(test)]
mod names;
#[cfg(test)]
mod older_layouts;
#[cfg(test)]
mod opening;
#[cfg(test)]
mod repositories;
#[cfg(test)]
#[cfg(test)]
mod statistics;
#[cfg(test)]
mod uploads;
#[cfg(test)]
mod verification;
#[cfg(test)]
mod world;
