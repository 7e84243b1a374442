//! Which mode a picture of some size is shown in, and where on the screen.

use std::fmt;

/// A mode of a display.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModeInfo {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Refreshes a second, rounded.
    pub refresh: u32,
    /// Whether the display prefers it.
    pub preferred: bool,
}

impl ModeInfo {
    /// Width and height.
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }
}

impl fmt::Display for ModeInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}@{}", self.width, self.height, self.refresh)
    }
}

/// Above this a mode is not called "60 Hz" any more.
const USUAL_REFRESH: u32 = 61;

/// The mode for pictures of this size: one of exactly that size, else the smallest that holds it.
///
/// Among modes of one size the display's preference decides, then the highest refresh that is not
/// above the usual 60 Hz: a faster display only costs power, since cameras are slower.
pub(crate) fn choose(modes: &[ModeInfo], size: (u32, u32)) -> Option<usize> {
    let rank = |mode: &ModeInfo| {
        let area = u64::from(mode.width) * u64::from(mode.height);
        let usual = mode.refresh <= USUAL_REFRESH;
        let refresh = if usual { u32::MAX - mode.refresh } else { mode.refresh };
        (area, !mode.preferred, !usual, refresh)
    };
    (0..modes.len())
        .filter(|index| modes[*index].width >= size.0 && modes[*index].height >= size.1)
        .min_by_key(|index| rank(&modes[*index]))
}

/// Timings of a mode of exactly this size, for a display that has no timings of its own: the window
/// of a virtual machine takes any. A real one must never be given a mode that it did not ask for.
///
/// CVT with reduced blanking, version 1 (VESA, 2003), at 60 Hz. Widths that are no multiple of 8
/// are left out: virtual hardware inherits that limit from VGA.
pub(crate) fn made_to_measure((width, height): (u32, u32)) -> Option<Timings> {
    const REFRESH: u64 = 60;
    const BLANK_NS: u64 = 460_000;
    let (width, height) = (u16::try_from(width).ok()?, u16::try_from(height).ok()?);
    if width == 0 || height == 0 || width % 8 != 0 {
        return None;
    }
    let line_ns = (1_000_000_000 / REFRESH - BLANK_NS) / u64::from(height);
    let blank = u16::try_from(BLANK_NS / line_ns + 1).ok()?.max(3 + 4 + 6);
    let vertical = [height.checked_add(3)?, height.checked_add(7)?, height.checked_add(blank)?];
    let horizontal = [width.checked_add(48)?, width.checked_add(80)?, width.checked_add(160)?];
    let clock = u64::from(horizontal[2]) * u64::from(vertical[2]) * REFRESH / 1000;
    Some(Timings { width, height, horizontal, vertical, clock: u32::try_from(clock).ok()? })
}

/// The timings of a mode: for each direction, start and end of the sync pulse and the total.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timings {
    pub(crate) width: u16,
    pub(crate) height: u16,
    pub(crate) horizontal: [u16; 3],
    pub(crate) vertical: [u16; 3],
    /// Pixels a millisecond.
    pub(crate) clock: u32,
}

/// The mode that the display likes best: the preferred one, else the first, as the kernel sorts
/// them.
pub(crate) fn preferred(modes: &[ModeInfo]) -> Option<&ModeInfo> {
    modes.iter().find(|mode| mode.preferred).or(modes.first())
}

/// The modes of a connector in one line, each size once, as far as they fit.
pub(crate) fn list(modes: &[ModeInfo]) -> String {
    const MOST: usize = 12;
    let mut sizes: Vec<_> = modes.iter().map(ModeInfo::size).collect();
    sizes.dedup();
    let mut text: Vec<_> =
        sizes.iter().take(MOST).map(|(width, height)| format!("{width}x{height}")).collect();
    if sizes.len() > MOST {
        text.push(format!("and {} more", sizes.len() - MOST));
    }
    if text.is_empty() { "none".to_owned() } else { text.join(", ") }
}

/// Where a picture is on the screen, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// From the left edge.
    pub x: u32,
    /// From the top edge.
    pub y: u32,
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

impl Placement {
    /// As large as a screen has room for, with the proportions of the picture.
    pub(crate) fn scaled(screen: (u32, u32), (width, height): (u32, u32)) -> Self {
        let scale = |side: u32, to: u32, from: u32| {
            // At most a side of the screen, which has 32 bits.
            (u64::from(side) * u64::from(to) / u64::from(from.max(1))).max(1) as u32
        };
        let wide =
            u64::from(width) * u64::from(screen.1) >= u64::from(height) * u64::from(screen.0);
        let size = if wide {
            (screen.0, scale(height, screen.0, width))
        } else {
            (scale(width, screen.1, height), screen.1)
        };
        Self::centred(screen, size)
    }

    /// The middle of a screen that is at least as large; on even coordinates, so that the
    /// half-size planes of YUV formats fall on whole samples.
    pub(crate) fn centred(screen: (u32, u32), (width, height): (u32, u32)) -> Self {
        let middle = |whole: u32, part: u32| (whole.saturating_sub(part) / 2) & !1;
        Self { x: middle(screen.0, width), y: middle(screen.1, height), width, height }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(width: u32, height: u32, refresh: u32, preferred: bool) -> ModeInfo {
        ModeInfo { width, height, refresh, preferred }
    }

    #[test]
    fn a_mode_of_exactly_the_size_wins() {
        let modes = [
            mode(1024, 768, 60, true),
            mode(640, 480, 75, false),
            mode(640, 480, 60, false),
            mode(640, 480, 59, false),
            mode(640, 400, 60, false),
        ];
        assert_eq!(choose(&modes, (640, 480)), Some(2));
        assert_eq!(choose(&modes, (1024, 768)), Some(0));
    }

    #[test]
    fn the_preferred_mode_wins_over_a_faster_one_of_its_size() {
        let modes =
            [mode(640, 480, 60, false), mode(640, 480, 50, true), mode(640, 480, 144, false)];
        assert_eq!(choose(&modes, (640, 480)), Some(1));
        assert_eq!(choose(&modes[2..], (640, 480)), Some(0));
    }

    #[test]
    fn otherwise_the_smallest_that_holds_it() {
        let modes =
            [mode(1920, 1080, 60, true), mode(800, 600, 60, false), mode(720, 400, 70, false)];
        assert_eq!(choose(&modes, (640, 480)), Some(1));
        assert_eq!(choose(&modes, (320, 240)), Some(2));
        assert_eq!(choose(&modes, (1921, 1)), None);
        assert_eq!(choose(&[], (1, 1)), None);
    }

    #[test]
    fn a_mode_made_to_measure_is_of_60_hz() {
        // As `cvt -r` has it: 1920 1968 2000 2080, 1080 1083 1088 1111, 138.5 MHz, but for the
        // length of the vertical sync, which depends on the aspect ratio there.
        let timings = made_to_measure((1920, 1080)).unwrap();
        assert_eq!(timings.horizontal, [1968, 2000, 2080]);
        assert_eq!(timings.vertical, [1083, 1087, 1111]);
        assert_eq!(timings.clock, 138_652);
        for size in [(0, 8), (8, 0), (321, 240), (65536, 8), (8, u32::MAX)] {
            assert_eq!(made_to_measure(size), None, "{size:?}");
        }
        for height in 1..=u32::from(u16::MAX) {
            if let Some(timings) = made_to_measure((8, height)) {
                let [start, end, total] = timings.vertical;
                assert!(u32::from(start) > height && start < end && end < total);
            }
        }
        assert_eq!(made_to_measure((65528, 65535)), None);
    }

    #[test]
    fn the_middle_is_on_even_coordinates() {
        let placement = Placement::centred((641, 483), (320, 240));
        assert_eq!((placement.x, placement.y), (160, 120));
        let placement = Placement::centred((10, 10), (20, 10));
        assert_eq!((placement.x, placement.y), (0, 0));
    }

    #[test]
    fn what_is_scaled_keeps_its_proportions() {
        let scaled = |screen, size| {
            let Placement { x, y, width, height } = Placement::scaled(screen, size);
            (x, y, width, height)
        };
        assert_eq!(scaled((1920, 1080), (640, 480)), (240, 0, 1440, 1080));
        assert_eq!(scaled((1920, 1080), (3840, 1080)), (0, 270, 1920, 540));
        assert_eq!(scaled((800, 600), (400, 300)), (0, 0, 800, 600));
        assert_eq!(scaled((8, 8), (u32::MAX, 1)), (0, 2, 8, 1));
    }

    #[test]
    fn a_list_of_modes_is_one_line() {
        let modes: Vec<_> = (0..40).map(|n| mode(100 + n / 2, 100, 60 + n % 2, false)).collect();
        let text = list(&modes);
        assert!(text.starts_with("100x100, 101x100") && text.ends_with("and 8 more"), "{text}");
        assert_eq!(list(&[]), "none");
        assert_eq!(mode(640, 480, 60, true).to_string(), "640x480@60");
    }
}
