// A plane of a YUV format.
//
// KIND: 0 luma, a sample of each pixel; 1 chroma, one or two samples of a square of four; 2 two
// pixels in four samples: luma, blue difference, luma, red difference.

uniform ivec2 last;         // pixel of the picture
uniform vec4 rows[3];       // of the samples: red, green, blue, and what is added

out vec4 samples;

float channel(vec4 row, vec3 rgb) {
    return dot(row.rgb, rgb) + row.a;
}

void main() {
    ivec2 at = ivec2(gl_FragCoord.xy);
#if KIND == 0
    samples = vec4(channel(rows[0], pixel(at)), 0.0, 0.0, 1.0);
#elif KIND == 1
    ivec2 from = at * 2;
    ivec2 to = min(from + 1, last);
    vec3 mean = (pixel(from) + pixel(ivec2(to.x, from.y)) + pixel(ivec2(from.x, to.y)) + pixel(to))
        * 0.25;
    samples = vec4(channel(rows[0], mean), channel(rows[1], mean), 0.0, 1.0);
#else
    vec3 left = pixel(ivec2(at.x * 2, at.y));
    vec3 right = pixel(ivec2(min(at.x * 2 + 1, last.x), at.y));
    vec3 mean = (left + right) * 0.5;
    samples = vec4(channel(rows[0], left), channel(rows[1], mean), channel(rows[0], right),
        channel(rows[2], mean));
#endif
}
