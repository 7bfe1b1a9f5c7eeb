"""What the files of a course say: one function for each kind of file that Studio writes."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from include.local.data.olx.plan import NO_ASSET, Block, Plan
from include.local.data.olx.words import Words

RUN_ATTRIBUTES = {"start": "start", "end": "end", "enrollment_start": "enrollment_start", "enrollment_end": "enrollment_end", "title": "display_name"}


def element(name: str, attributes: dict[str, str], inside: str = "") -> str:
    """An XML element; without content it is written as Studio writes it, closed at once."""
    written = "".join(f" {key}={quoteattr(value)}" for key, value in attributes.items())
    return f"<{name}{written}>{inside}</{name}>" if inside else f"<{name}{written}/>"


def course_xml(plan: Plan) -> str:
    """``course.xml``: which course this is."""
    org, number, run = plan.run.parts
    return element("course", {"url_name": run, "org": org, "course": number}) + "\n"


def run_attributes(plan: Plan) -> dict[str, str]:
    """Attributes of ``course/<run>.xml``; what the catalogue does not know is not written."""
    known = {attribute: getattr(plan.run, name) for name, attribute in RUN_ATTRIBUTES.items()}
    attributes = {name: value for name, value in known.items() if value is not None}
    if plan.run.self_paced is not None:
        attributes["self_paced"] = "true" if plan.run.self_paced else "false"
    return {"language": "en", "instructor_info": '{"instructors": []}', **attributes}


def run_xml(plan: Plan) -> str:
    """``course/<run>.xml``: the course's settings and chapters."""
    chapters = "".join(f"\n  {element('chapter', {'url_name': chapter.name})}" for chapter in plan.chapters)
    wiki = f"\n  {element('wiki', {'slug': '.'.join(plan.run.parts)})}\n" if plan.chapters else ""
    return element("course", run_attributes(plan), chapters + wiki) + "\n"


def xml_attributes(block: Block) -> dict[str, str]:
    """All attributes of the block's element, in the order in which they are written."""
    markdown = {"markdown": f"[[{block.title}]]\n>>{block.title}||choose<<\n(x) yes\n( ) no"} if block.kind == "problem" and block.text % 2 else {}
    return {**block.attributes, "display_name": block.title, **markdown}


def block_xml(block: Block, words: Words) -> str:
    """The block's file."""
    inside = {"problem": _problem, "video": _video, "openassessment": _assessment, "problem-builder": _builder, "annotatable": _annotatable}.get(block.kind)
    body = inside(block, words) if inside else ""
    body += "".join(f"\n  {element(child.kind, {'url_name': child.name})}" for child in block.children)
    return element(block.kind, xml_attributes(block), f"{body}\n" if body else "") + "\n"


def _problem(block: Block, words: Words) -> str:
    choices = "".join(f'\n      <choice correct="{str(number == 1).lower()}">{escape(words.text(6))}</choice>' for number in range(4))
    script = f'\n  <script type="loncapa/python"><![CDATA[\nanswer = {block.text} < 5 and {block.text} > 2\n]]></script>' if block.text % 5 == 0 else ""
    paragraphs = "".join(f"\n  <p>{escape(words.text(min(40, block.text - done)))}</p>" for done in range(0, block.text, 40))
    group = f'\n    <choicegroup type="MultipleChoice">{choices}\n    </choicegroup>'
    hint = f"\n  <demandhint>\n    <hint>{escape(words.text(8))}</hint>\n  </demandhint>"
    return f"{script}{paragraphs}\n  <multiplechoiceresponse>{group}\n  </multiplechoiceresponse>{hint}"


def _video(block: Block, words: Words) -> str:
    transcript = element("transcript", {"language": "en", "src": f"{block.name}-en.srt"})
    if block.duration == NO_ASSET:
        return f"\n  {transcript}"
    profiles = ("desktop_mp4", "mobile_low", "hls", "youtube")[: len(block.title) % 5]  # none at all for one in five
    places = [{"profile": profile, "url": f"https://video.example.org/{block.name}/{profile}", "file_size": "123456"} for profile in profiles]
    encoded = "".join(f"\n    {element('encoded_video', place)}" for place in places)
    asset = {"client_video_id": f"{block.title}.mp4", "duration": block.duration, "image": ""}
    return f"\n  {element('video_asset', asset, f'{encoded}' + chr(10) + '  ' if encoded else '')}\n  {transcript}"


def _assessment(block: Block, words: Words) -> str:
    steps = '<assessments>\n    <assessment name="self-assessment"/>\n  </assessments>'
    return f"\n  <title>{escape(block.title)}</title>\n  {steps}\n  <prompt>{escape(words.text(block.text))}</prompt>"


def _builder(block: Block, words: Words) -> str:
    question = element("pb-mcq", {"question": words.text(12), "correct_choices": '["a"]'})
    return f'\n  <!-- two steps -->\n  {question}\n  <pb-answer name="{block.name[:7]}">{escape(words.text(block.text))}</pb-answer>'


def _annotatable(block: Block, words: Words) -> str:
    note = element("annotation", {"title": "Note", "problem": "0"}, escape(words.text(9)))
    return f"\n  <instructions><p>{escape(words.text(block.text))}</p></instructions>\n  <p>\n    {note}\n  </p>"


def html_page(block: Block, words: Words) -> str:
    """The page beside an html block."""
    paragraphs = "".join(f"<p>{escape(words.text(min(60, block.text - done)))}</p>\n" for done in range(0, block.text, 60))
    return f'<h2>{escape(block.title)}</h2>\n{paragraphs}<p><a href="/static/{block.name}.pdf">{escape(words.text(3))}</a></p>\n'


def subtitles(words: Words, cues: int) -> str:
    """A transcript in SubRip form."""
    return "".join(
        f"{number}\n00:{number // 20 % 60:02d}:{number * 3 % 60:02d},000 --> 00:{number // 20 % 60:02d}:{number * 3 % 60:02d},900\n{words.text(8)}\n\n"
        for number in range(1, cues + 1)
    )


def grading_policy() -> dict[str, Any]:
    """``grading_policy.json``."""
    return {
        "GRADE_CUTOFFS": {"A": 0.9, "Pass": 0.6},
        "GRADER": [
            {"type": "Homework", "min_count": 8, "drop_count": 2, "weight": 0.6},
            {"type": "Final Exam", "min_count": 1, "drop_count": 0, "weight": 0.4},
        ],
    }


def policy(plan: Plan, signatories: list[dict[str, Any]]) -> dict[str, Any]:
    """``policy.json``: the settings that are not the default, the certificates among them."""
    certificates = {
        "certificates": [
            {"id": 100 + number, "name": "Certificate", "is_active": True, "version": 1, "signatories": signatories[number::2]}
            for number in (0, 1)
            if signatories[number::2]
        ]
    }
    entry: dict[str, Any] = {
        "advanced_modules": ["annotatable", "lti_consumer", "poll"],
        "discussions_settings": {"provider_type": "openedx", "enable_in_context": True},
        "display_name": plan.run.title,
        "display_coursenumber": plan.run.parts[1],
        "tabs": [{"type": "courseware", "name": "Course", "course_staff_only": False}, {"type": "wiki", "name": "Wiki", "is_hidden": True}],
        "tags": ["économie", "a & b"],
        "xml_attributes": {"filename": [f"course/{plan.run.parts[2]}.xml", f"course/{plan.run.parts[2]}.xml"]},
    }
    if plan.run.self_paced is not None:
        entry["self_paced"] = plan.run.self_paced
    if signatories:
        entry["certificates"] = certificates
    return {f"course/{plan.run.parts[2]}": entry}


def signatories_of(plan: Plan, rng: np.random.Generator) -> list[dict[str, Any]]:
    """None to three people who sign certificates."""
    names = ("Professor Ada Ferro", " Dr. Li Wéi", "Noor van Dijk")
    count = int(rng.integers(0, 4))
    org, number, run = plan.run.parts
    image = f"/asset-v1:{org}+{number}+{run}+type@asset+block@signature-{{}}.png"
    return [
        {
            "id": 9000 + place,
            "name": names[place],
            "title": "Lecturer",
            "organization": org,
            "certificate": plan.run.title,
            "signature_image_path": image.format(place),
        }
        for place in range(count)
    ]
