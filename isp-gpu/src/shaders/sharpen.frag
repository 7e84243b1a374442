// What a small blur takes away of luma is added once more: four pixels at once, those of a quad.

uniform ivec2 last;     // pixel of the picture
uniform float amount;

layout(location = 0) out vec4 first;
layout(location = 1) out vec4 second;
layout(location = 2) out vec4 third;
layout(location = 3) out vec4 fourth;

float luma(ivec2 at) {
    return dot(LUMA, pixel(clamp(at, ivec2(0), last)));
}

vec4 sharp(ivec2 at) {
    float blurred = 0.0;
    for (int y = -1; y <= 1; y++) {
        for (int x = -1; x <= 1; x++) {
            blurred += float((2 - abs(x)) * (2 - abs(y))) * (1.0 / 16.0) * luma(at + ivec2(x, y));
        }
    }
    return vec4(clamp(pixel(at) + amount * (luma(at) - blurred), 0.0, 1.0), 1.0);
}

void main() {
    ivec2 at = ivec2(gl_FragCoord.xy) * 2;
    first = sharp(at);
    second = sharp(at + ivec2(1, 0));
    third = sharp(at + ivec2(0, 1));
    fourth = sharp(at + ivec2(1, 1));
}
