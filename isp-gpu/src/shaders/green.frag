// Green at the two sites of each quad that did not see it, along edges and not across them.
//
// RED: the site of red in a quad: 0 to 3, row by row. Blue is diagonally opposite.

uniform vec3 gains; // over 65535

out uvec2 green;

float balanced(ivec2 at, float gain) {
    return min(light_at(at) * gain, 1.0);
}

// The estimate along a direction, and how rough it is there.
vec2 along(ivec2 at, ivec2 step, float own, float gain) {
    float before = balanced(at - step, gains.y);
    float after = balanced(at + step, gains.y);
    float far = balanced(at - 2 * step, gain) + balanced(at + 2 * step, gain);
    float curvature = 2.0 * own - far;
    float gradient = abs(before - after) + abs(curvature);
    return vec2((before + after) * 0.5 + curvature * 0.25, gradient * gradient + FLAT);
}

uint green_at(ivec2 at, float gain) {
    at = mirrored(at);
    float own = balanced(at, gain);
    vec2 across = along(at, ivec2(1, 0), own, gain);
    vec2 down = along(at, ivec2(0, 1), own, gain);
    float mixed = (across.x * down.y + down.x * across.y) / (across.y + down.y);
    return uint(clamp(mixed, 0.0, 1.0) * 65535.0 + 0.5);
}

void main() {
    ivec2 at = (ivec2(gl_FragCoord.xy) - 1) * 2;
    ivec2 red = ivec2(RED & 1, RED >> 1);
    green = uvec2(green_at(at + red, gains.x), green_at(at + 1 - red, gains.z));
}
