//! Which colour a service has.

use std::collections::HashMap;

/// Colours of the 256 that are told apart on dark and light ground, none of them near the red of an error.
const COLORS: [u8; 12] = [39, 214, 78, 170, 44, 141, 220, 32, 113, 177, 37, 179];

/// Services whose colour is remembered; a host has fewer, but names come from outside.
const MAX_SERVICES: usize = 1_000;

/// A service keeps its colour for a whole run. It is the one its name stands for, unless another service has that: then
/// the next that the fewest have.
#[derive(Debug, Default)]
pub(super) struct Palette {
    services: HashMap<String, usize>,
    uses: [usize; COLORS.len()],
}

impl Palette {
    /// Gives a service a colour if it has none.
    pub(super) fn add(&mut self, service: &str) {
        if self.services.contains_key(service) || self.services.len() >= MAX_SERVICES {
            return;
        }
        let first = preferred(service);
        let nearest = (first..first + COLORS.len()).map(|at| at % COLORS.len());
        let chosen = nearest.min_by_key(|&at| self.uses.get(at).copied()).unwrap_or(first);
        if let Some(uses) = self.uses.get_mut(chosen) {
            *uses += 1;
        }
        self.services.insert(service.to_owned(), chosen);
    }

    /// The colour's number among the terminal's 256.
    pub(super) fn color(&self, service: &str) -> u8 {
        let at = self.services.get(service).copied().unwrap_or_else(|| preferred(service));
        COLORS.get(at).copied().unwrap_or_default()
    }
}

/// The same in every run: FNV-1a of the name.
fn preferred(service: &str) -> usize {
    let hash = service
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    usize::try_from(hash % COLORS.len() as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn services_of_a_run_differ_as_long_as_there_are_colours() {
        let names =
            ["nginx", "web", "frontend", "java", "api", "backend", "mysqld", "python", "uvicorn", "a", "b", "c"];
        let mut palette = Palette::default();
        palette.add("nginx");
        let nginx = palette.color("nginx");
        names.iter().for_each(|name| palette.add(name));
        let colors: HashSet<u8> = names.iter().map(|name| palette.color(name)).collect();
        assert_eq!(colors.len(), COLORS.len());
        assert_eq!((palette.color("nginx"), Palette::default().color("nginx")), (nginx, nginx));
        for n in 0..2 * MAX_SERVICES {
            palette.add(&format!("service-{n}"));
        }
        assert_eq!(palette.services.len(), MAX_SERVICES);
        assert!(COLORS.contains(&palette.color("service-1999")));
    }
}
