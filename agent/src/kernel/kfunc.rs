//! Calls of kernel functions that are no helpers (`kfuncs`), which aya does not link yet: the programs call a helper of a made-up
//! number, and that instruction is rewritten before they are loaded.

use syspan_abi::{PREEMPT_DISABLE, PREEMPT_ENABLE};

use super::btf::Btf;

/// The functions, by the numbers that stand for them. In the kernel since 6.10.
const FUNCTIONS: [(u32, &str); 2] = [(PREEMPT_DISABLE, "bpf_preempt_disable"), (PREEMPT_ENABLE, "bpf_preempt_enable")];

/// `BPF_JMP | BPF_CALL`.
const CALL: u8 = 0x85;
/// `BPF_ALU64 | BPF_MOV | BPF_K`.
const MOVE: u8 = 0xb7;
/// `BPF_PSEUDO_KFUNC_CALL` as the source register (upper half of the byte).
const KFUNC: u8 = 2 << 4;

/// A BPF instruction: code, registers, offset, immediate (kernel documentation, `bpf/standardization/instruction-set.rst`).
type Instruction = [u8; 8];

/// The programs' object with these calls: to the kernel's functions, or to nothing.
#[must_use]
pub fn link(object: &[u8], kernel: Option<&Btf<'_>>) -> Vec<u8> {
    let mut linked = object.to_vec();
    for (stand_in, name) in FUNCTIONS {
        let function = kernel.and_then(|btf| btf.function(name));
        let call = match function {
            Some(function) => instruction(CALL, KFUNC, function),
            None => instruction(MOVE, 0, 0),
        };
        let wanted = instruction(CALL, 0, stand_in);
        // Code begins at a multiple of eight bytes, and so does every instruction.
        for place in linked.chunks_exact_mut(size_of::<Instruction>()) {
            if place == wanted {
                place.copy_from_slice(&call);
            }
        }
    }
    linked
}

fn instruction(code: u8, registers: u8, immediate: u32) -> Instruction {
    let [a, b, c, d] = immediate.to_ne_bytes();
    [code, registers, 0, 0, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_the_functions_nothing_is_called() {
        let other = instruction(CALL, 0, 14);
        let object = [instruction(CALL, 0, PREEMPT_DISABLE), other, instruction(CALL, 0, PREEMPT_ENABLE)].concat();
        let nothing = instruction(MOVE, 0, 0);
        assert_eq!(link(&object, None), [nothing, other, nothing].concat());
    }
}
