#version 300 es
// Black level, white balance, bilinear demosaic and gamma of 8-bit Bayer. The CPU's `reference` is
// the same maths, line by line.

precision highp float;
precision highp sampler2D;

uniform sampler2D raw;
uniform vec2 size;      // of the frame, in pixels
uniform vec2 red;       // column and row of the first red site
uniform float black;    // in levels
uniform vec3 scale;     // white balance, over the levels above black
uniform float exponent; // 1 / gamma
uniform bool swapped;   // blue comes first in memory, and the target's format does not know

out vec4 colour;

void main() {
    // Pixel centres, so that "-1 is 1" is a mirror at 0.5, and "width is width - 2" one at
    // width - 0.5.
    vec2 here = gl_FragCoord.xy;
    vec2 before = abs(here - 1.5) + 0.5;
    vec2 after = size - 0.5 - abs(size - 1.5 - here);
    vec2 unit = 1.0 / size;
    here *= unit;
    before *= unit;
    after *= unit;

    float centre = texture(raw, here).r;
    float beside = texture(raw, vec2(before.x, here.y)).r + texture(raw, vec2(after.x, here.y)).r;
    float above = texture(raw, vec2(here.x, before.y)).r + texture(raw, vec2(here.x, after.y)).r;
    float corners = texture(raw, before).r + texture(raw, after).r
        + texture(raw, vec2(before.x, after.y)).r + texture(raw, vec2(after.x, before.y)).r;

    // A texel is a byte over 255, give or take a rounding error: back to whole numbers, of which
    // all that follows up to the power is exact.
    vec4 sums = floor(vec4(centre, beside, above, corners) * 255.0 + 0.5);
    vec4 means = sums * vec4(1.0, 0.5, 0.5, 0.25);
    float cross = (sums.y + sums.z) * 0.25;

    // Selected and not branched upon: neighbouring pixels are never of the same kind.
    bvec2 odd = greaterThan(fract((gl_FragCoord.xy - 0.5 + red) * 0.5), vec2(0.25));
    vec3 red_row = odd.x ? means.yxz : vec3(means.x, cross, means.w);
    vec3 blue_row = odd.x ? vec3(means.w, cross, means.x) : means.zxy;
    vec3 mean = odd.y ? blue_row : red_row;

    vec3 light = clamp((mean - black) * scale, 0.0, 1.0);
    vec3 level = pow(light, vec3(exponent));
    colour = vec4(swapped ? level.bgr : level, 1.0);
}
