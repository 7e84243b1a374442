// Samples of a raw frame to 16-bit light, four in a texel: a quad of sites, row by row. A ring of
// mirrored quads surrounds the frame, so that no later pass needs to know where it ends.
//
// PACKING: 0, a texel is a sample; 10 or 12, texels are the bytes of CSI-2.
// INTEGER: texels are whole numbers, and not fractions of `full`.
// DEFECTS: samples that stick out are corrected.
// SHADED: light is corrected for the lens.
// GATHERED: the four texels of a quad are fetched at once. That needs GLES 3.1, texels that are
// samples, and no others than these.

#if INTEGER
uniform highp usampler2D raw;
#else
uniform highp sampler2D raw;
#endif
uniform ivec2 size;         // of the frame, in samples
uniform float full;         // what a texel of 1.0 stands for
uniform int white;          // a saturated sample
uniform int period;         // from a site to the next of its colour
uniform int threshold;      // of defect correction, in values of a sample
uniform vec2 line;          // light = sample * line.x - line.y, in 16 bits
uniform vec3 shading[4];    // of each site of a quad
uniform vec3 middle;        // of the frame, in samples; one over the corner's squared distance

out uvec4 quad;

int texel(int x, int y) {
#if INTEGER
    return int(texelFetch(raw, ivec2(x, y), 0).r);
#else
    return int(texelFetch(raw, ivec2(x, y), 0).r * full + 0.5);
#endif
}

int inside(ivec2 at) {
#if PACKING == 10
    int group = at.x >> 2;
    int index = at.x & 3;
    int rest = texel(group * 5 + 4, at.y) >> (2 * index);
    return texel(group * 5 + index, at.y) << 2 | (rest & 3);
#elif PACKING == 12
    int group = at.x >> 1;
    int index = at.x & 1;
    int rest = texel(group * 3 + 2, at.y) >> (4 * index);
    return texel(group * 3 + index, at.y) << 4 | (rest & 15);
#else
    return texel(at.x, at.y) & white;
#endif
}

// The site inside of the frame that stands for one outside: mirrored as often as it takes where the
// frame has but two or three.
ivec2 mirrored(ivec2 at) {
    ivec2 last = size - 1;
    at = last - abs(last - abs(at));
    at = last - abs(last - abs(at));
    return abs(at);
}

#if DEFECTS
int value(ivec2 at) {
    return inside(mirrored(at));
}

int corrected(ivec2 at) {
    int own = value(at);
    int least = 65535;
    int most = 0;
    for (int y = -1; y <= 1; y++) {
        for (int x = -1; x <= 1; x++) {
            if (x != 0 || y != 0) {
                int other = value(at + ivec2(x, y) * period);
                least = min(least, other);
                most = max(most, other);
            }
        }
    }
    return own > most + threshold ? most : own + threshold < least ? least : own;
}
#else
#define corrected inside
#endif

// The samples of a quad: of two columns and two rows that lie beside each other, in either order.
ivec4 samples(ivec2 from, ivec2 to) {
#if GATHERED
    // Around the corner where all four meet. Counted from the next row's first, they go round.
    vec2 corner = vec2(max(from, to)) / vec2(size);
#if INTEGER
    ivec4 four = ivec4(textureGather(raw, corner));
#else
    ivec4 four = ivec4(textureGather(raw, corner) * full + 0.5);
#endif
    four = four.wzxy & white;
    four = from.x > to.x ? four.yxwz : four;
    return from.y > to.y ? four.zwxy : four;
#else
    return ivec4(
        corrected(from),
        corrected(ivec2(to.x, from.y)),
        corrected(ivec2(from.x, to.y)),
        corrected(to)
    );
#endif
}

#if SHADED
// What makes up for the lens at a site.
float gain(ivec2 at, vec3 coefficients) {
    vec2 from_middle = vec2(at) - middle.xy;
    float squared = dot(from_middle, from_middle) * middle.z;
    return 1.0 + squared * (coefficients.x + squared * (coefficients.y + squared * coefficients.z));
}
#endif

void main() {
    ivec2 at = (ivec2(gl_FragCoord.xy) - 1) * 2;
    ivec2 from = mirrored(at);
    ivec2 to = mirrored(at + 1);
    vec4 light = vec4(samples(from, to)) * line.x - line.y;
#if SHADED
    light *= vec4(
        gain(from, shading[0]),
        gain(ivec2(to.x, from.y), shading[1]),
        gain(ivec2(from.x, to.y), shading[2]),
        gain(to, shading[3])
    );
#endif
    quad = uvec4(clamp(light, 0.0, 65535.0) + 0.5);
}
