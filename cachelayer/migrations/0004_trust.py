from django.db import migrations, models

# A lease that is over, for no server: the first keeper starts a new epoch.
_INSERT = "INSERT INTO cachelayer_trust (id, until, round, server) VALUES (1, now(), 0, '')"


class Migration(migrations.Migration):

    dependencies = [
        ('cachelayer', '0003_intents'),
    ]

    operations = [
        migrations.CreateModel(
            name='Trust',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('until', models.DateTimeField()),
                ('round', models.BigIntegerField()),
                ('server', models.TextField()),
            ],
            options={
                'db_table': 'cachelayer_trust',
            },
        ),
        migrations.RunSQL(_INSERT, migrations.RunSQL.noop),
    ]
