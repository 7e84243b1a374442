// Crop, scale, mirror and rotate: a pixel of the output is a mean of pixels of the picture.
//
// WHOLE: each is the pixel in its own place.

uniform bool transposed;
uniform vec4 start_step;    // start and step across, start and step down
uniform vec2 reach;         // of the filter, across and down
uniform vec4 crop;          // first column and row, last column and row
uniform vec3 scale;         // of red, green and blue, where they are read back and not rendered
uniform bool swapped;       // blue is first in memory, and the target's format does not know

out vec4 colour;

void main() {
#if WHOLE
    vec3 mean = pixel(ivec2(gl_FragCoord.xy));
#else
    vec2 at = floor(gl_FragCoord.xy);
    at = transposed ? at.yx : at;
    vec2 centre = start_step.xz + start_step.yw * at;
    vec2 from = max(ceil(centre - reach), crop.xy);
    vec2 to = min(floor(centre + reach), crop.zw);
    vec3 sum = vec3(0.0);
    float weights = 0.0;
    for (float y = from.y; y <= to.y; y++) {
        float down = max(1.0 - abs(y - centre.y) / reach.y, 0.0);
        for (float x = from.x; x <= to.x; x++) {
            float weight = down * max(1.0 - abs(x - centre.x) / reach.x, 0.0);
            if (weight > 0.0) {
                sum += weight * pixel(ivec2(x, y));
                weights += weight;
            }
        }
    }
    vec3 mean = sum / weights;
#endif
    colour = vec4((swapped ? mean.bgr : mean) * scale, 1.0);
}
