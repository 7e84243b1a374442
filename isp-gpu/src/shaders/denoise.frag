// The bilateral filter: every site is mixed with those neighbours of its colour that resemble it.

uniform int period;         // from a site to the next of its colour
uniform float over_range;   // one over the range, in 16-bit light

out uvec4 quad;

uint denoised(ivec2 at) {
    at = mirrored(at);
    float own = light_at(at);
    float sum = 0.0;
    float weights = 0.0;
    for (int y = -1; y <= 1; y++) {
        for (int x = -1; x <= 1; x++) {
            float other = light_at(at + ivec2(x, y) * period);
            float near = float((2 - abs(x)) * (2 - abs(y)));
            float weight = near * max(1.0 - abs(other - own) * over_range, 0.0);
            sum += weight * other;
            weights += weight;
        }
    }
    return uint(sum / weights + 0.5);
}

void main() {
    ivec2 at = (ivec2(gl_FragCoord.xy) - 1) * 2;
    quad = uvec4(
        denoised(at),
        denoised(at + ivec2(1, 0)),
        denoised(at + ivec2(0, 1)),
        denoised(at + ivec2(1, 1))
    );
}
