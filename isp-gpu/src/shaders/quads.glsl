// Light of single sites, of a texture of quads with a ring around them.

uniform highp usampler2D quads;
uniform ivec2 size; // of the frame, in samples

float component(vec4 quad, ivec2 at) {
    vec2 pair = (at.y & 1) == 0 ? quad.xy : quad.zw;
    return (at.x & 1) == 0 ? pair.x : pair.y;
}

// The site inside of the frame that stands for one up to two outside.
ivec2 mirrored(ivec2 at) {
    ivec2 last = size - 1;
    at = last - abs(last - abs(at));
    return abs(last - abs(last - abs(at)));
}

// The 16-bit light of a site up to two outside of the frame.
float light_at(ivec2 at) {
    return component(vec4(texelFetch(quads, (at + 2) >> 1, 0)), at);
}
