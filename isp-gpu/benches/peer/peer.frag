#version 300 es
// What an ISP costs that does the obvious: for each pixel thirteen fetches, the linear filters of
// Malvar, He and Cutler, a matrix, and powers for contrast and gamma.

precision highp float;
precision highp int;

uniform highp sampler2D raw;
uniform bool wide;          // two bytes a sample
uniform vec3 gains;
uniform mat3 matrix;
uniform float black;
uniform float over_range;
uniform float contrast;
uniform float over_gamma;

out vec4 colour;

float at(ivec2 place) {
    ivec2 last = textureSize(raw, 0) - 1;
    vec4 texel = texelFetch(raw, last - abs(last - abs(place)), 0);
    return wide ? (texel.r * 255.0 + texel.g * 65280.0) * (1.0 / 1023.0) : texel.r;
}

void main() {
    ivec2 p = ivec2(gl_FragCoord.xy);
    float own = at(p);
    float beside = at(p + ivec2(-1, 0)) + at(p + ivec2(1, 0));
    float above = at(p + ivec2(0, -1)) + at(p + ivec2(0, 1));
    float corners = at(p + ivec2(-1, -1)) + at(p + ivec2(1, -1)) + at(p + ivec2(-1, 1))
        + at(p + ivec2(1, 1));
    float far_x = at(p + ivec2(-2, 0)) + at(p + ivec2(2, 0));
    float far_y = at(p + ivec2(0, -2)) + at(p + ivec2(0, 2));
    float green = (4.0 * own + 2.0 * (beside + above) - far_x - far_y) / 8.0;
    float opposite = (6.0 * own + 2.0 * corners - 1.5 * (far_x + far_y)) / 8.0;
    float of_row = (5.0 * own + 4.0 * beside - far_x - corners + 0.5 * far_y) / 8.0;
    float of_column = (5.0 * own + 4.0 * above - far_y - corners + 0.5 * far_x) / 8.0;
    bool odd_x = (p.x & 1) == 1;
    bool odd_y = (p.y & 1) == 1;
    vec3 red_row = odd_x ? vec3(of_row, own, of_column) : vec3(own, green, opposite);
    vec3 blue_row = odd_x ? vec3(opposite, green, own) : vec3(of_column, own, of_row);
    vec3 rgb = odd_y ? blue_row : red_row;
    rgb = clamp((rgb - black) * over_range * gains, 0.0, 1.0);
    rgb = clamp(matrix * rgb, 0.0, 1.0);
    vec3 value = pow(rgb, vec3(over_gamma));
    vec3 low = 0.5 * pow(2.0 * value, vec3(contrast));
    vec3 high = 1.0 - 0.5 * pow(2.0 - 2.0 * value, vec3(contrast));
    colour = vec4(mix(high, low, lessThan(value, vec3(0.5))), 1.0);
}
