//! Where a function of x86-64 has what it is going to return, before it does: places for probes.
//!
//! At most instructions, a return among them, the kernel has a probed thread execute a copy of the instruction and traps twice, which in a
//! virtual machine was seen to take 10 µs and more. Jumps and calls to known addresses it emulates, which took 1.4 µs
//! (`arch/x86/kernel/uprobes.c`: `branch_setup_xol_ops`, since 3.16). So on each way that leads to a return such an instruction is looked for at which a
//! register holds the result already.
//!
//! The code is followed from the function's first instruction along every branch, into the functions that it ends with a jump to, and not into
//! those that it calls. So each place is the beginning of an instruction, as it must be.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, OpAccess, Register};
use object::{Endianness, ReadRef, elf::ProgramHeader64};

use super::segments::code_at;

/// A function with more instructions is none of those that this is for: `PyContext_CopyCurrent` has less than a hundred.
const MAX_INSTRUCTIONS: usize = 512;
/// Nor is one that takes probes in more places.
const MAX_PLACES: usize = 4;
/// The longest instruction, bytes.
const LONGEST: u64 = 15;
/// What a called function may change (System V ABI).
const CHANGED_BY_CALLS: [Register; 9] = [
    Register::RAX,
    Register::RCX,
    Register::RDX,
    Register::RSI,
    Register::RDI,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
];

/// Places where a function has its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Results {
    /// Instructions, counted from the file's beginning, bytes. Every way to a result leads past one of them.
    pub places: Vec<u64>,
    /// The register that holds it there, by where `struct pt_regs` has it, bytes.
    pub register: u32,
}

/// Those of the function at this address; `None` if it does what is not understood, or there is a way without such a place.
pub fn find<'a, R: ReadRef<'a>>(
    segments: &[ProgramHeader64<Endianness>],
    endian: Endianness,
    data: R,
    function: u64,
) -> Option<Results> {
    let steps = follow(segments, endian, data, function)?;
    let holders = holders(&steps);
    let (mut places, mut registers) = (Vec::new(), BTreeSet::new());
    let (mut seen, mut ahead) = (BTreeSet::new(), vec![function]);
    while let Some(address) = ahead.pop() {
        let (step, holder) = (steps.get(&address)?, holders.get(&address)?);
        if !seen.insert(address) || *holder == Holder::Nothing {
            continue;
        }
        match *holder {
            Holder::In(register) if step.emulated => {
                places.push(step.offset);
                registers.insert(in_registers(register)?);
            }
            _ if step.instruction.flow_control() == FlowControl::Return => return None,
            _ => ahead.extend(step.next()),
        }
    }
    places.sort_unstable();
    let register = registers.pop_first().filter(|_| registers.is_empty())?;
    (places.len() <= MAX_PLACES).then_some(Results { places, register })
}

/// An instruction of a function.
#[derive(Debug)]
struct Step {
    instruction: Instruction,
    /// From the file's beginning, bytes.
    offset: u64,
    /// The kernel emulates it.
    emulated: bool,
}

impl Step {
    fn read<'a, R: ReadRef<'a>>(
        segments: &[ProgramHeader64<Endianness>],
        endian: Endianness,
        data: R,
        address: u64,
    ) -> Option<Self> {
        let (offset, rest) = code_at(segments, endian, address)?;
        let bytes = data.read_bytes_at(offset, LONGEST.min(rest)).ok()?;
        let instruction = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE).decode();
        // call, jmp and jcc, with nothing before them: a probe at one with a prefix may be refused.
        let emulated = matches!(bytes, [0xe8 | 0xe9 | 0xeb | 0x70..=0x7f, ..] | [0x0f, 0x80..=0x8f, ..]);
        (!instruction.is_invalid()).then_some(Self { instruction, offset, emulated })
    }

    /// The addresses of what may be executed after it.
    fn next(&self) -> impl Iterator<Item = u64> {
        let (next, target) = (self.instruction.next_ip(), self.instruction.near_branch_target());
        match self.instruction.flow_control() {
            FlowControl::Return => [None, None],
            FlowControl::UnconditionalBranch => [Some(target), None],
            FlowControl::ConditionalBranch => [Some(next), Some(target)],
            _ => [Some(next), None],
        }
        .into_iter()
        .flatten()
    }

    /// Where it has the result that is there after it.
    fn before(&self, after: Holder, info: &mut InstructionInfoFactory) -> Holder {
        let Holder::In(register) = after else { return after };
        let instruction = &self.instruction;
        let (to, from) = (instruction.op0_register(), instruction.op1_register());
        match instruction.code() {
            Code::Mov_r64_rm64 | Code::Mov_rm64_r64 if to == register && from != Register::None => Holder::In(from),
            Code::Xor_r32_rm32 | Code::Xor_rm32_r32 if to.full_register() == register && to == from => Holder::Nothing,
            _ if is_call(instruction) && CHANGED_BY_CALLS.contains(&register) => Holder::Nowhere,
            _ => {
                let writes = info.info(instruction).used_registers().iter().any(|used| {
                    used.register().full_register() == register
                        && !matches!(used.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess)
                });
                if writes { Holder::Nowhere } else { after }
            }
        }
    }
}

fn is_call(instruction: &Instruction) -> bool {
    matches!(instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall)
}

/// All instructions of a function, by their addresses.
fn follow<'a, R: ReadRef<'a>>(
    segments: &[ProgramHeader64<Endianness>],
    endian: Endianness,
    data: R,
    function: u64,
) -> Option<BTreeMap<u64, Step>> {
    let (mut steps, mut ahead) = (BTreeMap::new(), vec![function]);
    while let Some(address) = ahead.pop() {
        if steps.contains_key(&address) {
            continue;
        }
        let step = Step::read(segments, endian, data, address)?;
        match step.instruction.flow_control() {
            FlowControl::Next
            | FlowControl::Call
            | FlowControl::IndirectCall
            | FlowControl::ConditionalBranch
            | FlowControl::UnconditionalBranch
            | FlowControl::Return => ahead.extend(step.next()),
            // Where a jump to a calculated address leads is not known; the others are no part of such functions.
            _ => return None,
        }
        steps.insert(address, step);
        if steps.len() > MAX_INSTRUCTIONS {
            return None;
        }
    }
    Some(steps)
}

/// Where a function's result is before an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// Not looked at.
    Unknown,
    /// It will be 0.
    Nothing,
    /// It is not there yet.
    Nowhere,
    /// In this register, if it is there on the way that is taken.
    In(Register),
    /// In one or another.
    Several,
}

impl Holder {
    /// By the two ways that lead on.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unknown, known) | (known, Self::Unknown) => known,
            (Self::In(one), Self::In(another)) if one != another => Self::Several,
            (Self::Several, _) | (_, Self::Several) => Self::Several,
            (Self::In(register), _) | (_, Self::In(register)) => Self::In(register),
            (Self::Nowhere, _) | (_, Self::Nowhere) => Self::Nowhere,
            (Self::Nothing, Self::Nothing) => Self::Nothing,
        }
    }
}

/// Where the result is before each instruction, by what comes after it.
fn holders(steps: &BTreeMap<u64, Step>) -> HashMap<u64, Holder> {
    let mut holders: HashMap<u64, Holder> = steps.keys().map(|&address| (address, Holder::Unknown)).collect();
    let mut info = InstructionInfoFactory::new();
    let mut changed = true;
    // Each holder changes four times at most.
    while changed {
        changed = false;
        for (address, step) in steps.iter().rev() {
            let after = match step.instruction.flow_control() {
                FlowControl::Return => Holder::In(Register::RAX),
                _ => step.next().filter_map(|next| holders.get(&next)).fold(Holder::Unknown, |all, one| all.or(*one)),
            };
            let before = step.before(after, &mut info);
            changed |= holders.insert(*address, before) != Some(before);
        }
    }
    holders
}

/// Where the kernel's `struct pt_regs` has a register, bytes.
fn in_registers(register: Register) -> Option<u32> {
    const ORDER: [Register; 15] = [
        Register::R15,
        Register::R14,
        Register::R13,
        Register::R12,
        Register::RBP,
        Register::RBX,
        Register::R11,
        Register::R10,
        Register::R9,
        Register::R8,
        Register::RAX,
        Register::RCX,
        Register::RDX,
        Register::RSI,
        Register::RDI,
    ];
    let at = ORDER.iter().position(|known| *known == register)?;
    u32::try_from(at * size_of::<u64>()).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use object::elf::{PF_X, PT_LOAD};
    use proptest::prelude::*;

    use super::*;

    const RBX: u32 = 40;

    /// What is found in a function with this code, at 0x1000.
    fn results(code: &[u8]) -> Option<Results> {
        let endian = Endianness::Little;
        let word = |value| object::U64::new(endian, value);
        let length = word(code.len() as u64);
        let segment = ProgramHeader64 {
            p_type: object::U32::new(endian, PT_LOAD),
            p_flags: object::U32::new(endian, PF_X),
            p_offset: word(0),
            p_vaddr: word(0x1000),
            p_paddr: word(0x1000),
            p_filesz: length,
            p_memsz: length,
            p_align: word(0x1000),
        };
        find(&[segment], endian, code, 0x1000)
    }

    fn at(places: &[u64]) -> Option<Results> {
        Some(Results { places: places.to_vec(), register: RBX })
    }

    #[test]
    fn a_branch_at_which_a_register_has_the_result() {
        // push %rbx; call f; mov %rax,%rbx; test %rax,%rax; je +4; movq %rax,(%rax)...; mov %rbx,%rax; pop %rbx; ret
        let code = b"\x53\xe8\x00\x01\x00\x00\x48\x89\xc3\x48\x85\xc0\x74\x03\x48\x89\x00\x48\x89\xd8\x5b\xc3";
        assert_eq!(results(code), at(&[12]));
    }

    #[test]
    fn one_on_each_way() {
        // 0: push %rbx; test %rdi,%rdi; je 16; mov (%rdi),%rbx; call f; 14: jmp 31
        // 16: call g; mov %rax,%rbx; test %rax,%rax; jne 31; 29: xor %ebx,%ebx; 31: mov %rbx,%rax; pop %rbx; ret
        let code = b"\x53\x48\x85\xff\x74\x0a\x48\x8b\x1f\xe8\x00\x01\x00\x00\xeb\x0f\
            \xe8\x00\x01\x00\x00\x48\x89\xc3\x48\x85\xc0\x75\x02\x31\xdb\x48\x89\xd8\x5b\xc3";
        assert_eq!(results(code), at(&[9, 27]), "and not where it will return nothing");
    }

    #[test]
    fn a_jump_at_the_end_is_followed() {
        // 0: jmp 3; 2: ret; 3: push %rbx; call f; mov %rax,%rbx; jmp +0; mov %rbx,%rax; pop %rbx; ret
        let code = b"\xeb\x01\xc3\x53\xe8\x00\x01\x00\x00\x48\x89\xc3\xeb\x00\x48\x89\xd8\x5b\xc3";
        assert_eq!(results(code), at(&[12]));
    }

    #[test]
    fn a_way_without_a_place_is_too_much() {
        // call f; mov %rax,%rbx; mov %rbx,%rax; ret
        assert_eq!(results(b"\xe8\x00\x01\x00\x00\x48\x89\xc3\x48\x89\xd8\xc3"), None);
        // The result is in rbx on one way, and in rbp on the other.
        // call f; mov %rax,%rbx; mov %rax,%rbp; test %edi,%edi; je 19; mov %rbx,%rax; ret; 17: nop; nop; mov %rbp,%rax; ret
        let code = b"\xe8\x00\x01\x00\x00\x48\x89\xc3\x48\x89\xc5\x85\xff\x74\x04\x48\x89\xd8\xc3\x48\x89\xe8\xc3";
        assert_eq!(results(code), None);
    }

    #[test]
    fn a_call_changes_what_it_may() {
        // call f; call g; ret: at the second one rax is not the result.
        assert_eq!(results(b"\xe8\x00\x01\x00\x00\xe8\x00\x01\x00\x00\xc3"), None);
    }

    #[test]
    fn what_is_not_understood_is_left_alone() {
        assert_eq!(results(b"\xff\xe0"), None, "jmp *%rax");
        assert_eq!(results(b"\x0f\x0b\xc3"), None, "ud2");
        assert_eq!(results(b"\x90\x90"), None, "it ends before it returns");
        assert_eq!(results(b"\xeb\xfe"), None, "a loop");
        assert_eq!(results(b""), None, "not in the file");
        assert_eq!(results(&[0x90; 1000]), None, "too long");
    }

    proptest! {
        #[test]
        fn any_code_is_harmless(code in proptest::collection::vec(any::<u8>(), 0..600)) {
            for place in results(&code).map(|found| found.places).unwrap_or_default() {
                prop_assert!(place < code.len() as u64);
            }
        }
    }
}
