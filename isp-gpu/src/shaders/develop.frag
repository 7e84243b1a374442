// White balance, demosaic, colour correction and tone: four pixels at once, those of a quad. All
// that they need are nine texels.
//
// RED: the site of red in a quad: 0 to 3, row by row; 4 without colour filters.
// DEMOSAIC: 0 bilinear, 1 Malvar, 2 directional.
// PAIRS: two pixels of eight bits are one of sixteen, even rows apart from odd ones.
// YUV: two pixels of luma are one of two channels, even rows apart from odd ones, and the chroma of
// all four is a third output. Without either a pixel of each quad is a layer.

uniform highp usampler2D quads;
#if DEMOSAIC == 2
uniform highp usampler2D greens;
#endif
uniform highp sampler2D tone;
uniform vec3 gains;     // over 65535
uniform vec3 matrix[3]; // rows
uniform bool swapped;   // blue is first in memory

#if PAIRS
layout(location = 0) out vec4 upper;
layout(location = 1) out vec4 lower;
#elif YUV
uniform vec4 rows[3];   // luma and both kinds of chroma: red, green, blue, and what is added
layout(location = 0) out vec4 upper;
layout(location = 1) out vec4 lower;
layout(location = 2) out vec4 chroma;
#else
layout(location = 0) out vec4 first;
layout(location = 1) out vec4 second;
layout(location = 2) out vec4 third;
layout(location = 3) out vec4 fourth;
#endif

// The table is spaced as floating-point numbers are: the upper bits are the index.
float level(float light) {
    int bits = floatBitsToInt(clamp(light, LEAST, MOST)) >> SHIFT;
    return texelFetch(tone, ivec2(bits & (STEPS - 1), (bits - (floatBitsToInt(LEAST) >> SHIFT)) / STEPS), 0).r;
}

vec3 levels(vec3 light) {
#if RED < 4
    light = vec3(dot(matrix[0], light), dot(matrix[1], light), dot(matrix[2], light));
#endif
    return vec3(level(light.r), level(light.g), level(light.b));
}

#if PAIRS
// Two pixels as four numbers of sixteen bits.
vec4 pair(vec3 left, vec3 right) {
    left = floor((swapped ? left.bgr : left) * 255.0 + 0.5);
    right = floor((swapped ? right.bgr : right) * 255.0 + 0.5);
    return (vec4(left.r, left.b, right.r, right.b) + vec4(left.g, 255.0, right.g, 255.0) * 256.0)
        * (1.0 / 65535.0);
}
#elif YUV
float channel(vec4 row, vec3 rgb) {
    return dot(row.rgb, rgb) + row.a;
}
#endif

// Sites around the quad, which has columns and rows 0 and 1.
#define QUAD(x, y) q[((y) + 2 >> 1) * 3 + ((x) + 2 >> 1)]
#define S(x, y) QUAD(x, y)[((x) & 1) + ((y) & 1) * 2]

#if DEMOSAIC == 2
// Green at a site: where it was not seen, the estimate; the first is that of red sites.
#define ESTIMATE(x, y) g[((y) + 2 >> 1) * 3 + ((x) + 2 >> 1)]
#define AT_RED(x, y) ((((x) & 1) + ((y) & 1) * 2) == RED)
#define G(x, y) (AT_RED(x, y) ? ESTIMATE(x, y).r : ESTIMATE(x, y).g)
#define D(x, y) (S(x, y) - G(x, y))
#define AT_COLOUR(x, y) vec3(S(x, y), G(x, y), \
    G(x, y) + (D(x - 1, y - 1) + D(x + 1, y - 1) + D(x - 1, y + 1) + D(x + 1, y + 1)) * 0.25)
#define AT_GREEN(x, y) vec3( \
    S(x, y) + (D(x - 1, y) + D(x + 1, y)) * 0.5, \
    S(x, y), \
    S(x, y) + (D(x, y - 1) + D(x, y + 1)) * 0.5)
#else
#define BESIDE(x, y) (S(x - 1, y) + S(x + 1, y))
#define ABOVE(x, y) (S(x, y - 1) + S(x, y + 1))
#define CORNERS(x, y) (S(x - 1, y - 1) + S(x + 1, y - 1) + S(x - 1, y + 1) + S(x + 1, y + 1))
#if DEMOSAIC == 0
#define AT_COLOUR(x, y) \
    vec3(S(x, y), (BESIDE(x, y) + ABOVE(x, y)) * 0.25, CORNERS(x, y) * 0.25)
#define AT_GREEN(x, y) vec3(BESIDE(x, y) * 0.5, S(x, y), ABOVE(x, y) * 0.5)
#else
#define FAR_BESIDE(x, y) (S(x - 2, y) + S(x + 2, y))
#define FAR_ABOVE(x, y) (S(x, y - 2) + S(x, y + 2))
#define AT_COLOUR(x, y) at_colour(S(x, y), BESIDE(x, y) + ABOVE(x, y), CORNERS(x, y), \
    FAR_BESIDE(x, y) + FAR_ABOVE(x, y))
#define AT_GREEN(x, y) at_green(S(x, y), BESIDE(x, y), ABOVE(x, y), CORNERS(x, y), \
    FAR_BESIDE(x, y), FAR_ABOVE(x, y))

vec3 at_colour(float own, float near, float corners, float far) {
    return vec3(own, 0.5 * own + 0.25 * near - 0.125 * far,
        0.75 * own + 0.25 * corners - 0.1875 * far);
}

vec3 at_green(float own, float beside, float above, float corners, float far_x, float far_y) {
    float base = 0.625 * own - 0.125 * corners;
    return vec3(base + 0.5 * beside - 0.125 * far_x + 0.0625 * far_y, own,
        base + 0.5 * above - 0.125 * far_y + 0.0625 * far_x);
}
#endif
#endif

void main() {
    ivec2 corner = ivec2(gl_FragCoord.xy);
    vec4 q[9];
#if RED == 4
    vec4 own = vec4(texelFetch(quads, corner + 1, 0)) * (1.0 / 65535.0);
    vec3 p0 = vec3(own.x);
    vec3 p1 = vec3(own.y);
    vec3 p2 = vec3(own.z);
    vec3 p3 = vec3(own.w);
#else
#if RED == 0
    vec4 factors = gains.rggb;
#elif RED == 1
    vec4 factors = gains.grbg;
#elif RED == 2
    vec4 factors = gains.gbrg;
#else
    vec4 factors = gains.bggr;
#endif
    for (int i = 0; i < 9; i++) {
        ivec2 at = corner + ivec2(i % 3, i / 3);
        q[i] = min(vec4(texelFetch(quads, at, 0)) * factors, 1.0);
    }
#if DEMOSAIC == 2
    vec2 g[9];
    for (int i = 0; i < 9; i++) {
        ivec2 at = corner + ivec2(i % 3, i / 3);
        g[i] = vec2(texelFetch(greens, at, 0).rg) * (1.0 / 65535.0);
    }
#endif
#if RED == 0
    vec3 p0 = AT_COLOUR(0, 0);
    vec3 p1 = AT_GREEN(1, 0);
    vec3 p2 = AT_GREEN(0, 1).bgr;
    vec3 p3 = AT_COLOUR(1, 1).bgr;
#elif RED == 1
    vec3 p0 = AT_GREEN(0, 0);
    vec3 p1 = AT_COLOUR(1, 0);
    vec3 p2 = AT_COLOUR(0, 1).bgr;
    vec3 p3 = AT_GREEN(1, 1).bgr;
#elif RED == 2
    vec3 p0 = AT_GREEN(0, 0).bgr;
    vec3 p1 = AT_COLOUR(1, 0).bgr;
    vec3 p2 = AT_COLOUR(0, 1);
    vec3 p3 = AT_GREEN(1, 1);
#else
    vec3 p0 = AT_COLOUR(0, 0).bgr;
    vec3 p1 = AT_GREEN(1, 0).bgr;
    vec3 p2 = AT_GREEN(0, 1);
    vec3 p3 = AT_COLOUR(1, 1);
#endif
#endif
#if PAIRS
    upper = pair(levels(p0), levels(p1));
    lower = pair(levels(p2), levels(p3));
#elif YUV
    vec3 first = levels(p0);
    vec3 second = levels(p1);
    vec3 third = levels(p2);
    vec3 fourth = levels(p3);
    vec3 mean = (first + second + third + fourth) * 0.25;
    upper = vec4(channel(rows[0], first), channel(rows[0], second), 0.0, 1.0);
    lower = vec4(channel(rows[0], third), channel(rows[0], fourth), 0.0, 1.0);
    chroma = vec4(channel(rows[1], mean), channel(rows[2], mean), 0.0, 1.0);
#else
    first = vec4(levels(p0), 1.0);
    second = vec4(levels(p1), 1.0);
    third = vec4(levels(p2), 1.0);
    fourth = vec4(levels(p3), 1.0);
#endif
}
