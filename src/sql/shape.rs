//! shim
pub type Fingerprint = u64;
#[derive(Debug, Clone, Copy)]
pub enum HoleKind {
    Parameter(u16),
    Integer,
    Number,
    String,
    Bits,
}
#[derive(Debug, Clone, Copy)]
pub struct Hole {
    pub start: u32,
    pub end: u32,
    pub kind: HoleKind,
}
pub struct Shape<'a> {
    pub fingerprint: Fingerprint,
    pub canonical: &'a [u8],
    pub holes: &'a [Hole],
}
#[derive(Default)]
pub struct Shaper {
    canonical: Vec<u8>,
    holes: Vec<Hole>,
}
impl Shaper {
    pub fn shapes(&mut self, text: &[u8], _standard: bool, mut each: impl FnMut(Shape<'_>)) {
        self.canonical.clear();
        self.holes.clear();
        self.canonical.extend_from_slice(text);
        let fingerprint = text
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        each(Shape { fingerprint, canonical: &self.canonical, holes: &self.holes });
    }
}
