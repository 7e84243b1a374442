//! Scenes from files: what a file holds is told by how it begins, not by its name.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::error::{MAX_SIDE, SceneError};
use super::picture::{Picture, Slides};
use super::video::Video;
use super::{Scene, Show};
use crate::size::Size;

/// Files of pictures larger than this are taken for a mistake, or for an attack.
const MAX_BYTES: u64 = 256 << 20;

/// The most memory that decoding a picture may allocate, in bytes.
const MAX_DECODED: u64 = 512 << 20;

/// The most memory of all pictures of a folder, in bytes.
const MAX_SLIDES: u64 = 2 << 30;

/// A scene, and whether it changes by itself.
pub(super) struct Opened {
    pub(super) scene: Box<dyn Scene>,
    pub(super) changes: bool,
}

/// Opens a picture, a video, or a folder of pictures.
pub(super) fn open(path: &Path, size: Size, show: Show) -> Result<Opened, SceneError> {
    let failed = |source| SceneError::Read { path: path.to_owned(), source };
    let kind = path.metadata().map_err(failed)?;
    if kind.is_dir() {
        let scene = Box::new(slides(path, size, show)?);
        return Ok(Opened { scene, changes: true });
    }
    if !kind.is_file() {
        // To open a pipe would wait for a writer.
        return Err(SceneError::NotAFile { path: path.to_owned() });
    }
    let mut file = File::open(path).map_err(failed)?;
    let mut start = Vec::new();
    file.by_ref().take(y4m_start().len() as u64).read_to_end(&mut start).map_err(failed)?;
    if start == y4m_start() {
        let scene = Box::new(Video::open(path, size, show)?);
        return Ok(Opened { scene, changes: true });
    }
    let scene = Box::new(decode(path, size, show)?);
    Ok(Opened { scene, changes: false })
}

const fn y4m_start() -> &'static [u8] {
    b"YUV4MPEG2 "
}

/// The pictures `0.jpg`, `1.jpg` and so on of a folder, as libcamera's virtual camera names them.
fn slides(folder: &Path, size: Size, show: Show) -> Result<Slides, SceneError> {
    let mut pictures = Vec::new();
    loop {
        let path = folder.join(format!("{}.jpg", pictures.len()));
        if !path.exists() {
            break;
        }
        let picture = decode(&path, size, show)?;
        if picture.bytes() * (pictures.len() as u64 + 1) > MAX_SLIDES {
            let what = format!("more than {} MiB of pictures", MAX_SLIDES >> 20);
            return Err(SceneError::TooLarge { path: folder.to_owned(), what });
        }
        pictures.push(picture);
    }
    Slides::new(pictures, show.frames)
        .ok_or_else(|| SceneError::EmptyFolder { path: folder.to_owned() })
}

/// Decodes a picture, within limits.
fn decode(path: &Path, size: Size, show: Show) -> Result<Picture, SceneError> {
    let owned = || path.to_owned();
    let failed = |source| SceneError::Read { path: owned(), source };
    let mut data = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut data));
    if read.map_err(failed)? as u64 > MAX_BYTES {
        let what = format!("more than {} MiB", MAX_BYTES >> 20);
        return Err(SceneError::TooLarge { path: owned(), what });
    }
    let format = match image::guess_format(&data) {
        Ok(format @ (image::ImageFormat::Png | image::ImageFormat::Jpeg)) => format,
        _ => return Err(SceneError::UnknownType { path: owned() }),
    };
    if format == image::ImageFormat::Jpeg && !jpeg_ends(&data) {
        // The decoder would fill up what is missing with grey.
        let what = "the marker of its end is missing".to_owned();
        return Err(SceneError::Truncated { path: owned(), what });
    }
    let mut reader = image::ImageReader::with_format(io::Cursor::new(&data), format);
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_DECODED);
    reader.limits(limits);
    match reader.decode() {
        Ok(image) => Ok(Picture::new(&image, size, show)),
        Err(image::ImageError::Limits(limit)) => {
            Err(SceneError::TooLarge { path: owned(), what: limit.to_string() })
        }
        Err(image::ImageError::IoError(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(SceneError::Truncated { path: owned(), what: error.to_string() })
        }
        Err(source) => Err(SceneError::Picture { path: owned(), source }),
    }
}

/// Checks that a JPEG file has the marker of its end after its first scan (ITU-T T.81, B.1.1).
fn jpeg_ends(data: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xda;
    const END: [u8; 2] = [0xff, 0xd9];
    let mut at = 2;
    while let Some(&[0xff, marker, high, low]) = data.get(at..at + 4) {
        if marker == START_OF_SCAN {
            // Within a scan a byte of 0xff is followed by 0 or a restart marker.
            return data[at..].windows(2).any(|pair| pair == END);
        }
        at += 2 + usize::from(u16::from_be_bytes([high, low]));
    }
    // Not as the standard says; the decoder will tell.
    true
}

#[cfg(test)]
mod tests {
    use std::fs;

    use image::{ImageFormat, Rgb, RgbImage};

    use super::super::Spec;
    use super::*;

    const SIZE: Size = Size { width: 64, height: 32 };

    fn encoded(format: ImageFormat) -> Vec<u8> {
        let image = RgbImage::from_fn(64, 32, |x, y| Rgb([x as u8 * 4, y as u8 * 8, 128]));
        let mut bytes = io::Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn opened(name: &str, bytes: &[u8]) -> Result<super::super::SceneView, SceneError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        Spec::file(path).open(SIZE)
    }

    #[test]
    fn pictures_are_light() {
        for format in [ImageFormat::Png, ImageFormat::Jpeg] {
            // The name says nothing.
            let view = opened("picture.txt", &encoded(format)).unwrap();
            let mut row = [[0.0; 3]; 64];
            view.row(0, 16, &mut row);
            // Level 128 of sRGB is 0.2158 of the light; a JPEG is a little off.
            for (x, pixel) in row.iter().enumerate().skip(8).take(40) {
                let expected = crate::sensor::model::colour::srgb_to_linear(x as f32 * 4.0 / 255.0);
                assert!((pixel[0] - expected).abs() < 0.02, "{format:?} {x} {pixel:?}");
                assert!((pixel[2] - 0.2158).abs() < 0.02, "{format:?} {x} {pixel:?}");
            }
        }
    }

    #[test]
    fn what_is_no_scene_is_told_apart() {
        let path = Path::new("/nonexistent/picture.png");
        let error = Spec::file(path).open(SIZE).unwrap_err();
        assert!(matches!(error, SceneError::Read { .. }));
        assert!(error.to_string().contains("colorchecker"), "{error}");
        let device = Spec::file("/dev/zero").open(SIZE);
        assert!(matches!(device, Err(SceneError::NotAFile { .. })));
        assert!(matches!(opened("a.png", b"GIF89a"), Err(SceneError::UnknownType { .. })));
        assert!(matches!(opened("a.png", b""), Err(SceneError::UnknownType { .. })));
        for (format, missing) in [(ImageFormat::Png, 100), (ImageFormat::Jpeg, 3)] {
            let whole = encoded(format);
            for length in [whole.len() / 2, whole.len() - missing, 20] {
                let error = opened("a", &whole[..length]).unwrap_err();
                assert!(
                    matches!(error, SceneError::Truncated { .. } | SceneError::Picture { .. }),
                    "{format:?} {length} {error:?}"
                );
            }
        }
    }

    #[test]
    fn a_bomb_is_not_set_off() {
        // A PNG that claims to be 60 000 pixels wide and high.
        let mut bomb = encoded(ImageFormat::Png);
        bomb[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
        let crc = png_crc(&bomb[12..29]);
        bomb[29..33].copy_from_slice(&crc.to_be_bytes());
        assert!(matches!(opened("a.png", &bomb), Err(SceneError::TooLarge { .. })));
    }

    /// The check sum of a PNG chunk (ISO 15948, annex D).
    fn png_crc(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |crc: u32, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
        })
    }

    #[test]
    fn a_folder_is_shown_picture_after_picture() {
        let folder = tempfile::tempdir().unwrap();
        let empty = Spec::file(folder.path()).open(SIZE);
        assert!(matches!(empty, Err(SceneError::EmptyFolder { .. })));
        for (name, level) in [("0.jpg", 40), ("1.jpg", 200)] {
            let image = RgbImage::from_pixel(16, 8, Rgb([level; 3]));
            image.save(folder.path().join(name)).unwrap();
        }
        let slow = Spec::file(folder.path()).each_for(4).open(SIZE).unwrap();
        let view = Spec::file(folder.path()).open(SIZE).unwrap();
        let mut row = [[0.0; 3]; 64];
        let mut light = |frame| {
            view.row(frame, 3, &mut row);
            row[30][1]
        };
        let [dark, bright] = [light(0), light(1)];
        assert!(dark < 0.05 && bright > 0.5, "{dark} {bright}");
        assert_eq!(light(2), dark);
        assert!(!view.is_still());
        let shown = [0, 3, 4, 7, 8].map(|frame| {
            slow.row(frame, 3, &mut row);
            row[30][1]
        });
        assert_eq!(shown, [dark, dark, bright, bright, dark]);
    }
}
