//! One colour wherever a frame goes: ffmpeg and the `image` crate, which know nothing of vcam, read
//! the files, and values from outside are compared. Needs `ffmpeg`; no device.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use vcam_testing::command::{self, Ran};

/// The red patch of a ColorChecker in sRGB, as X-Rite publishes it: the third of the six in the
/// third of four rows.
const RED: [u8; 3] = [175, 54, 60];

/// Where the red patch is in a frame.
fn red_patch((width, height): (u32, u32)) -> (u32, u32) {
    (width * 5 / 12, height * 5 / 8)
}

/// Runs the camera for two frames into this folder.
fn vcam(folder: &Path, args: &str) -> Ran {
    vcam_for(2, folder, args)
}

/// The same, for so many frames.
fn vcam_for(frames: u32, folder: &Path, args: &str) -> Ran {
    let mut command = command::command(&format!("--isp cpu --heap memfd --frames {frames}"));
    let ran: Ran = command.args(args.split(' ')).current_dir(folder).output().unwrap().into();
    assert_eq!(ran.code, 0, "{args}: {ran:?}");
    ran
}

/// What ffmpeg answers to these arguments.
fn ffmpeg(folder: &Path, args: &str) -> Vec<u8> {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-y"]).args(args.split(' ')).current_dir(folder);
    let output = command.stdin(Stdio::null()).output().expect("ffmpeg is installed");
    assert!(output.status.success(), "ffmpeg {args}: {output:?}");
    output.stdout
}

/// The first frame of a file as a player that takes it for this encoding shows it.
fn played(folder: &Path, file: &str, encoding: &str) -> Vec<u8> {
    let scale = format!("scale=in_color_matrix={encoding}:flags=accurate_rnd+full_chroma_int");
    ffmpeg(folder, &format!("-i {file} -vf {scale} -frames:v 1 -f rawvideo -pix_fmt rgb24 -"))
}

fn pixel(rgb: &[u8], width: u32, (x, y): (u32, u32)) -> [u8; 3] {
    let at = 3 * (y * width + x) as usize;
    rgb[at..at + 3].try_into().unwrap()
}

fn assert_near(is: [u8; 3], should: [u8; 3], off: u8, case: &str) {
    let near = is.iter().zip(should).all(|(is, should)| is.abs_diff(should) <= off);
    assert!(near, "{case}: {is:?} instead of {should:?}");
}

/// A colour that has been YUV is up to two levels off.
const YUV: u8 = 2;

#[test]
fn a_picture_file_has_the_same_colours_at_every_size() {
    let dir = tempfile::tempdir().unwrap();
    for size in [(640, 480), (640, 576), (640, 578), (1280, 720)] {
        for format in ["XR24", "NV12", "YUYV"] {
            let (width, height) = size;
            let case = format!("{format} {width}x{height}");
            vcam(
                dir.path(),
                &format!(
                    "--sensor-format {format} --scene colorchecker --size {width}x{height} \
                     --output file:a.png --output file:a.ppm"
                ),
            );
            for file in ["a.png", "a.ppm"] {
                let picture = image::open(dir.path().join(file)).unwrap().into_rgb8();
                let (x, y) = red_patch(size);
                let off = if format == "XR24" { 1 } else { YUV };
                assert_near(picture.get_pixel(x, y).0, RED, off, &format!("{case} {file}"));
            }
        }
    }
}

/// The ISP's YUV shows what its RGB does.
#[test]
fn the_isp_s_pictures_have_the_same_colours_in_every_format() {
    let dir = tempfile::tempdir().unwrap();
    for size in ["640x480", "640x578"] {
        let bars = format!("--size {size} --scene test:bars");
        vcam(dir.path(), &format!("{bars} --format XR24 --output file:rgb.png"));
        let rgb = image::open(dir.path().join("rgb.png")).unwrap().into_rgb8();
        for format in ["NV12", "NV21", "YU12", "YUYV"] {
            vcam(dir.path(), &format!("{bars} --format {format} --output file:yuv.png"));
            let yuv = image::open(dir.path().join("yuv.png")).unwrap().into_rgb8();
            for bar in 0..8 {
                let (x, y) = (bar * 80 + 40, 200);
                let (is, should) = (yuv.get_pixel(x, y).0, rgb.get_pixel(x, y).0);
                assert_near(is, should, 3, &format!("{format} {size} bar {bar}"));
            }
        }
    }
}

/// Players take a video that names no encoding for BT.601 up to 576 rows, and for BT.709 above.
#[test]
fn a_video_is_encoded_as_players_take_it() {
    let dir = tempfile::tempdir().unwrap();
    for (size, encoding) in [
        ((640, 480), "bt601"),
        ((640, 576), "bt601"),
        ((640, 578), "bt709"),
        ((1280, 720), "bt709"),
    ] {
        for format in ["XR24", "NV12"] {
            let (width, height) = size;
            vcam(
                dir.path(),
                &format!(
                    "--sensor-format {format} --scene colorchecker --size {width}x{height} \
                     --output file:a.y4m --output file:a.yuv"
                ),
            );
            let case = format!("{format} {width}x{height}");
            let shown = played(dir.path(), "a.y4m", encoding);
            assert_near(pixel(&shown, width, red_patch(size)), RED, YUV, &case);
            let stream = fs::read(dir.path().join("a.y4m")).unwrap();
            let header = stream.split(|byte| *byte == b'\n').next().unwrap();
            let header = String::from_utf8_lossy(header).into_owned();
            assert!(header.ends_with(" XCOLORRANGE=LIMITED C420jpeg"), "{header}");
            // Bare planes are the same ones.
            let planes = fs::read(dir.path().join("a.yuv")).unwrap();
            assert!(stream.ends_with(&planes[planes.len() / 2..]), "{case}");
        }
    }
}

#[test]
fn what_a_run_wrote_is_the_same_picture_as_a_scene() {
    let dir = tempfile::tempdir().unwrap();
    for (width, height) in [(640, 480), (1280, 720)] {
        let size = format!("--size {width}x{height}");
        vcam(
            dir.path(),
            &format!("--sensor-format XR24 --scene colorchecker {size} --output file:a.y4m"),
        );
        vcam(
            dir.path(),
            &format!("--sensor-format XR24 --scene a.y4m {size} --output file:again.png"),
        );
        let picture = image::open(dir.path().join("again.png")).unwrap().into_rgb8();
        let (x, y) = red_patch((width, height));
        assert_near(picture.get_pixel(x, y).0, RED, YUV, &size);
    }
}

/// Videos that ffmpeg made, in every range and encoding that a header can say, of a colour that it
/// was given.
#[test]
fn a_video_from_elsewhere_is_read_as_it_says() {
    let dir = tempfile::tempdir().unwrap();
    for (encoding, range, tag, rows) in [
        ("bt601", "tv", "", 480),
        ("bt709", "tv", "", 720),
        ("bt601", "pc", "", 480),
        ("bt709", "pc", "", 720),
        ("bt601", "tv", " XCOLORMATRIX=BT601", 720),
        ("bt709", "tv", " XCOLORMATRIX=BT709", 480),
    ] {
        let scale = format!(
            "scale=out_color_matrix={encoding}:out_range={range}:flags=accurate_rnd,format=yuv444p"
        );
        let colour = format!("color=0xaf363c:s=640x{rows},format=rgb24");
        ffmpeg(
            dir.path(),
            &format!(
                "-f lavfi -i {colour} -vf {scale} -frames:v 1 -strict -1 -f yuv4mpegpipe a.y4m"
            ),
        );
        let made = fs::read(dir.path().join("a.y4m")).unwrap();
        let end = made.iter().position(|byte| *byte == b'\n').unwrap();
        let tagged = [&made[..end], tag.as_bytes(), &made[end..]].concat();
        fs::write(dir.path().join("tagged.y4m"), tagged).unwrap();
        let size = format!("--size 640x{rows}");
        vcam(
            dir.path(),
            &format!("--sensor-format XR24 --scene tagged.y4m {size} --output file:a.png"),
        );
        let picture = image::open(dir.path().join("a.png")).unwrap().into_rgb8();
        let case = format!("{encoding} {range}{tag} {rows}");
        assert_near(picture.get_pixel(100, 100).0, RED, YUV, &case);
    }
}

/// The levels that a grey file of ffmpeg's has; newer ones tag all of them so.
#[test]
fn grey_of_the_full_range_comes_level_for_level() {
    let dir = tempfile::tempdir().unwrap();
    let levels = "geq=lum='if(lt(X\\,128)\\,16\\,if(lt(X\\,256)\\,128\\,240))'";
    ffmpeg(
        dir.path(),
        &format!(
            "-f lavfi -i color=black:s=384x48,format=gray,{levels} -frames:v 1 -strict -1 \
             -color_range pc -f yuv4mpegpipe grey.y4m"
        ),
    );
    let made = fs::read(dir.path().join("grey.y4m")).unwrap();
    assert!(String::from_utf8_lossy(&made[..80]).contains("XCOLORRANGE=FULL"));
    vcam(dir.path(), "--sensor-format XR24 --scene grey.y4m --size 384x48 --output file:a.png");
    let picture = image::open(dir.path().join("a.png")).unwrap().into_rgb8();
    for (x, level) in [(64, 16), (192, 128), (320, 240)] {
        assert_eq!(picture.get_pixel(x, 24).0, [level; 3]);
    }
}

/// A picture that a sensor sends is the file's, level for level.
#[test]
fn a_picture_comes_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let made = image::RgbImage::from_fn(256, 64, |x, y| {
        image::Rgb([x as u8, 255 - x as u8, (4 * y) as u8])
    });
    made.save(dir.path().join("made.png")).unwrap();
    vcam(dir.path(), "--sensor-format XR24 --scene made.png --size 256x64 --output file:a.png");
    let picture = image::open(dir.path().join("a.png")).unwrap().into_rgb8();
    assert!(picture == made);
}

/// As libcamera's virtual camera shows them: white is white to the corners, pictures of another
/// shape are stretched, and each stays for four frames.
#[test]
fn a_virtual_yaml_shows_its_pictures_as_libcamera_does() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("white")).unwrap();
    // White, and then black with a white half on the right, three times as wide as high.
    let half = "geq=lum='if(lt(X\\,96)\\,0\\,255)':cb=128:cr=128";
    for (index, colour) in
        ["color=white:s=192x64", &format!("color=black:s=192x64,{half}")].into_iter().enumerate()
    {
        ffmpeg(dir.path(), &format!("-f lavfi -i {colour} -frames:v 1 -q:v 1 white/{index}.jpg"));
    }
    let size = "supported_formats: [{ width: 160, height: 120 }]";
    fs::write(
        dir.path().join("virtual.yaml"),
        format!(
            "\"A\": {{ frames: {{ path: white }}, {size} }}\n\
             \"B\": {{ test_pattern: bars, {size} }}\n"
        ),
    )
    .unwrap();
    let all = "--config virtual.yaml";
    vcam_for(9, dir.path(), &format!("{all} --camera A --output file:%d.png"));
    let shown = |index: u32| image::open(dir.path().join(format!("{index}.png"))).unwrap();
    for index in [0, 3, 8] {
        let picture = shown(index).into_rgb8();
        for (x, y) in [(0, 0), (159, 119), (80, 60)] {
            assert_near(picture.get_pixel(x, y).0, [255; 3], 1, &format!("{index} {x},{y}"));
        }
    }
    for index in [4, 7] {
        let picture = shown(index).into_rgb8();
        for (x, level) in [(2, 0), (60, 0), (100, 255), (157, 255)] {
            assert_near(picture.get_pixel(x, 60).0, [level; 3], 2, &format!("{index} {x}"));
        }
    }
    vcam(dir.path(), &format!("{all} --camera B --output file:bars-%d.png"));
    let bars = image::open(dir.path().join("bars-0.png")).unwrap().into_rgb8();
    for (bar, rgb) in [
        [255, 255, 255],
        [255, 255, 0],
        [0, 255, 255],
        [0, 255, 0],
        [255, 0, 255],
        [255, 0, 0],
        [0, 0, 255],
        [0, 0, 0],
    ]
    .into_iter()
    .enumerate()
    {
        assert_near(bars.get_pixel(bar as u32 * 20 + 10, 60).0, rgb, YUV, &format!("bar {bar}"));
    }
}

/// The report says which colour space the frames have.
#[test]
fn the_report_names_the_colour_space() {
    let dir = tempfile::tempdir().unwrap();
    for (args, space) in [
        ("--format NV12 --size 640x480", "Rec709/sRGB/Rec601/Limited"),
        ("--format NV12 --size 1280x720", "Rec709/sRGB/Rec709/Limited"),
        ("--sensor-format YUYV --size 640x480", "Rec709/sRGB/Rec601/Limited"),
        ("--format XR24 --size 640x480", "sRGB"),
    ] {
        let report = vcam(dir.path(), &format!("{args} --json --output null")).report();
        assert_eq!(report["colour_space"], space, "{args}");
    }
}
