#version 300 es
// The picture that proves pixels: `value` of the allocator's `probe::pattern`, number by number.

precision highp float;
precision highp int;

uniform float seed;

out vec4 colour;

void main() {
    ivec2 at = ivec2(gl_FragCoord.xy);
    ivec3 level = at.x * ivec3(37, 91, 151) + at.y * ivec3(101, 29, 67)
        + int(seed) * ivec3(53, 113, 197);
    colour = vec4(vec3(level & 255) / 255.0, 1.0);
}
