"""Parameters for queries where there is hardly any data."""

import pytest

from activity.documents import ActivityEvent
from config.explain import samples
from config.explain.samples import NoSampleData
from notes.models import Note
from tests.builders import make_note, make_notes


@pytest.mark.django_db
class TestNoSampleData:
    @pytest.mark.parametrize("what", ["sample_notes", "sample_profile_user", "sample_events"])
    def test_names_the_command_that_creates_some(self, what):
        ActivityEvent._get_collection().delete_many({})
        assert not Note.objects.exists()

        with pytest.raises(NoSampleData, match=r"manage\.py seed_"):
            getattr(samples, what)()


@pytest.mark.django_db
class TestNotes:
    def test_one_note_is_enough(self):
        note_id = make_note(title="42")

        sample = samples.sample_notes()

        assert (sample.note_id, sample.page, sample.at, sample.rows) == (note_id, 1, None, 1)
        assert sample.common_word == sample.rare_word == "nothing"

    def test_the_deepest_page_is_full_and_500_at_most(self):
        assert samples.deepest_page(19) == samples.deepest_page(39) == 1
        assert samples.deepest_page(40) == 2
        assert samples.deepest_page(1_000_000) == 500

    def test_finds_who_has_most_and_words_of_many_and_few_titles(self):
        make_notes(45, user_id="abc", word="meeting")
        make_notes(5, user_id="eve", word="budget")

        sample = samples.sample_notes()

        assert (sample.heavy_user, sample.usual_user, sample.page) == ("abc", "eve", 2)
        assert (sample.common_word, sample.rare_word) == ("meet", "budget")
