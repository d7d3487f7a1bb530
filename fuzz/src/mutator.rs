//! Inputs made of others by chance.

/// Makes inputs of those that are known. The same seed makes the same ones.
#[derive(Debug)]
pub struct Mutator {
    state: u64,
    words: &'static [&'static str],
}

impl Mutator {
    /// `words` are what the target's inputs are made of.
    pub fn new(seed: u64, words: &'static [&'static str]) -> Mutator {
        Mutator { state: seed | 1, words }
    }

    /// A number below `limit` (xorshift64*).
    fn below(&mut self, limit: usize) -> usize {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        (self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit.max(1)
    }

    /// One of the inputs with one to eight changes; of at most `max` bytes.
    pub fn input(&mut self, inputs: &[Vec<u8>], max: usize) -> Vec<u8> {
        let mut input = match inputs.len() {
            0 => Vec::new(),
            count => inputs[self.below(count)].clone(),
        };
        for _ in 0..1 + self.below(8) {
            self.change(&mut input, inputs);
        }
        input.truncate(max);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, inputs: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        let end = at + self.below((input.len() - at).min(16) + 1);
        match self.below(8) {
            0 => drop(input.drain(at..end)),
            1 => {
                let again = input[at..end].to_vec();
                input.splice(at..at, again);
            }
            2 if at < input.len() => input[at] ^= 1 << self.below(8),
            3 if at < input.len() => {
                const ODD: &[u8] = b"\0\t\n\r \"%&'()*+,-./0:;=?[\\]{}~\x7f\x80\xc3\xff";
                input[at] = ODD[self.below(ODD.len())];
            }
            4 if !inputs.is_empty() => {
                // Another's end.
                let other = &inputs[self.below(inputs.len())];
                let from = self.below(other.len() + 1);
                input.splice(at.., other[from..].iter().copied());
            }
            5 => input.insert(at, self.below(256) as u8),
            _ if !self.words.is_empty() => {
                let word = self.words[self.below(self.words.len())];
                input.splice(at..end, word.bytes());
            }
            _ => {}
        }
    }
}
